"""Every table and figure of the papers as an experiment: the paper's figure, ours, and what it was made from."""
