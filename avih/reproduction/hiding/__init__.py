"""AVIH on faces: Tables 1 to 4, 6, 7 and its figures (000)."""
