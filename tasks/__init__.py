"""How one unit of work runs: load by path, call one avih function, save, return a small record."""
