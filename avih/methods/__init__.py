"""The protection methods: each hides pictures in its own way and gives the same kind of result.

The papers are named by number, here and in the packages that methods are made of: 000 is AVIH (ICCV 2023), 001
its preprint (AVP), 002 person-specific veils (ACM MM 2024), 003 Veil Privacy (ECCV 2024).
README.md has their titles.
"""
