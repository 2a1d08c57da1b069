"""Where photos come from: readers by layout, cards with licence and address, and downloads."""

from avih.datasets.base import Photo, PhotoSource, Skipped
from avih.datasets.registry import layouts, open_source

__all__ = ["Photo", "PhotoSource", "Skipped", "layouts", "open_source"]
