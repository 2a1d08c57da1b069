"""Benchmarks: how long protecting, training a key and the rest take, measured side by side and honestly."""
