"""AVIH on classifiers beside LIE and ITP: Tables 5, 8 and 9 (000)."""
