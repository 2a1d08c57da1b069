"""Bytes of any kind, given to every parser of ours: a value that can be written again, or one of our errors."""
