"""Person-specific veils: Tables 1 to 3 and its figures (002)."""
