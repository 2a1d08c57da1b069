"""Veil Privacy: Tables 2 to 7 (003)."""
