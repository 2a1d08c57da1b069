"""Protect galleries of face images (AVIH): hidden from people, matched by the recogniser, recovered by the owner.

A deterrent against people viewing the gallery. It is not encryption: whoever owns the recogniser still
matches, links and can invert the features, because matching is what the gallery is for.
"""

__version__ = "0.1.0"
