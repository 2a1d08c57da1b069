"""Stores that lie elsewhere, such as on S3: a private working copy here, and what keeps the two in line.

The rest of avih knows :mod:`avih.mirror.seam` alone. See docs/remote-store.md.
"""
