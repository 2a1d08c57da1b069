"""Veil Privacy (003): random pixel flips, then a gradient iteration that brings a model's features back.

Algorithm 1 in two modules: :mod:`~avih.veil_privacy.flip` is lines 4 to 11, :mod:`~avih.veil_privacy.iteration`
is lines 12 to 18; :mod:`avih.methods.veil_privacy` runs both on a batch. What models learn from the veiled
pictures (Tables 2, 4 and 5) is measured in :mod:`~avih.veil_privacy.training`.
"""
