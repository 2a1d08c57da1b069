"""Why a probe is not met, and the probe table for a card that has none."""

from avih.errors import AvihError, IntegrityError
from avih.recognisers.alternatives import Alternative, combined
from avih.recognisers.findings import Finding, ok, warning, wrong
from avih.recognisers.load import Recogniser
from avih.recognisers.probe import probe_difference, probe_values

VALUES = 8
TOLERANCE = 1e-4  # tells a division by 127.5 from one by 128


def probe_table(recogniser: Recogniser) -> str:
    """Return the ``[probe]`` table of the network as the card uses it now."""
    values = probe_values(recogniser=recogniser, card=recogniser.card)
    expected = ", ".join(f"{value:.6f}" for value in values[:VALUES])
    return f'[probe]\nkind = "waves"\nstep = 2\nexpected = [{expected}]\ntolerance = {TOLERANCE:g}\n'


def probe_finding(recogniser: Recogniser) -> Finding:
    """Say whether the card's probe is met, and if not, with which other card it would be."""
    probe = recogniser.card.probe
    if probe is None:
        return warning(
            "probe", "the card has none: nothing proves colour order, value range and weights at each load",
            "Prove the card on photos (--photos FOLDER), then paste the [probe] table of the check into it.",
        )  # fmt: skip
    difference = probe_difference(recogniser=recogniser, card=recogniser.card)
    if difference <= probe.tolerance:
        return ok("probe", f"met (largest difference {difference:.1g}, allowed {probe.tolerance:g})")
    fix = met_by(recogniser)
    text = f"not met: largest difference {difference:.4f}, allowed {probe.tolerance:g}"
    if fix is None:
        do = (
            "No other colour order, usual range or template meets it either: take the weights that the card was "
            "written for, or write a new probe for these."
        )
        return wrong("probe", text, do, kind=IntegrityError)
    return wrong(
        "probe", text, f"With {fix.words()} the probe is met: correct the card.", kind=IntegrityError
    )


def met_by(recogniser: Recogniser) -> Alternative | None:
    """Return the alternative that meets the card's probe best, of those with the fewest changes."""
    probe = recogniser.card.probe
    if probe is None:
        return None
    found: list[tuple[int, float, Alternative]] = []
    for one in combined(recogniser):
        altered = one.of(recogniser)
        try:
            difference = probe_difference(recogniser=altered, card=altered.card)
        except AvihError:  # a range that overflows, or a size that the network refuses
            continue
        if difference <= probe.tolerance:
            found.append((len(one.changes), difference, one))
    return min(found, key=lambda entry: entry[:2])[2] if found else None
