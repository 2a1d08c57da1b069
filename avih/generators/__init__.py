"""Key models: the networks G that recover a picture; one registry, one way to bytes and back."""

from avih.generators.registry import build_generator, load_generator, save_generator

__all__ = ["build_generator", "load_generator", "save_generator"]
