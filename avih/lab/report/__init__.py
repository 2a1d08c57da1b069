"""The report of an audit: one page that opens without a network."""
