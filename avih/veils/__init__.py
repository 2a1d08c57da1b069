"""Parts of person-specific veils (002): features' hull, loss terms, putting a veil on and off, exposure."""
