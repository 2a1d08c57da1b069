"""The report of a gallery version: one page that opens without a network and shows protected pictures alone."""
