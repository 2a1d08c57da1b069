"""Small image classifiers, and how one is trained and how often it is right."""
