"""A second recogniser, of another architecture and loss, from persons that no table is measured on."""
