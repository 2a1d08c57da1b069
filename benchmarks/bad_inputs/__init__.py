"""Bad inputs of every kind, tried through the doors by which they come in; see :func:`try_all`.

Used by the tests and by ``python -m benchmarks.faults``.
"""

from benchmarks.bad_inputs.trying import try_all

__all__ = ["try_all"]
