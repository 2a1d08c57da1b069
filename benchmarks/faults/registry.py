"""All faults, in the order in which they are tried and shown."""

from benchmarks.faults import (
    bits,
    clocks,
    cluster,
    disks,
    inputs,
    kills,
    load,
    locks,
    lost,
    memory,
    network,
    workers,
)
from benchmarks.faults.fault import Fault


def all_faults() -> tuple[Fault, ...]:
    """Return every fault there is."""
    families = (kills, lost, workers, cluster, network, disks, clocks, locks, bits, memory, inputs, load)
    return tuple(fault for family in families for fault in family.FAULTS)
