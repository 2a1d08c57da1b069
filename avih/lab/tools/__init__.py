"""What several attacks build on: inversion, distortions, labelled photos, mixing cryptanalysis, statistics."""
