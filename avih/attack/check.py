"""The attack check (000, section 4.3): train on leaked pairs of the old key, and see what falls.

What counts: other images of the same key (keyed and sealed galleries, at every number of leaked pairs) and images
of the new key, of the same and of other persons. A positive control shows that the attack works where it can.
"""

from collections.abc import Callable

from torch import nn

from avih.attack.measure import Gauge
from avih.attack.network import Features
from avih.attack.pairs import Pairs, Split, split_images
from avih.attack.result import AttackResult, Network
from avih.attack.second import Embed, Identifier, fit_descriptor
from avih.attack.settings import AttackSettings
from avih.attack.trials import Sample, Trials
from avih.attack.verdict import recommended_budget, verdict_of
from avih.errors import UsageError
from avih.evaluation.lpips_metric import Lpips


def networks(*, recovery: str, generator: nn.Module | None) -> tuple[Network, ...]:
    """Name the attack networks that are tried."""
    return ("plain",) if recovery == "unmixed" or generator is None else ("plain", "with generator")


def planned_units(settings: AttackSettings, *, recovery: str) -> int:
    """Return the training steps and sample images of a check at most, for a progress bar."""
    curve = len(settings.pairs) + 1
    if recovery == "unmixed":
        return curve * settings.steps
    sample = settings.control_key_steps + settings.control_pairs + settings.control_tests
    return sample + (2 * curve + 1) * settings.steps


def check_attack(
    *,
    old: Pairs,
    new: Pairs | None,
    recovery: str,
    settings: AttackSettings,
    recogniser: Features,
    generator: nn.Module | None = None,
    sample: Sample | None = None,
    second: Embed | None = None,
    lpips: Lpips | None = None,
    progress: Callable[[int], None] | None = None,
) -> AttackResult:
    """Attack the old key and judge.

    Args:
        old: pairs of the old key.
        new: pairs of the new key; None where there is no other key.
        recovery: how the galleries are recovered; ``unmixed`` ones are their own control.
        settings: how hard to try, and the limits.
        recogniser: the service model.
        generator: the old key's generator where attackers may know it (keyed).
        sample: hides pairs without mixing, for the control; needed unless unmixed.
        second: a second recogniser; by default a classical one is fitted on originals that are not attacked.
        lpips: the metric, where its weights are at hand.
        progress: called with training steps.

    Raises:
        UsageError: fewer than four images, or no sample where one is needed.
    """
    if recovery != "unmixed" and sample is None:
        raise UsageError(f"Expected an unmixed sample as control for recovery {recovery!r}, got none.")
    split = split_images(images=old.images, persons=old.persons, settings=settings)
    check = Trials(
        old, split, settings, recogniser, _gauge(old, split, second, lpips), progress or (lambda _: None)
    )
    control = check.sampled(sample) if recovery != "unmixed" and sample else None
    points, attacks = check.curve(networks(recovery=recovery, generator=generator), generator, control)
    keyed = recovery != "unmixed"
    others = [check.at(attack, old.named(split.others), by_design=keyed) for attack in attacks]
    same_key = check.worst(others)
    old_key = check.worst([check.at(attack, old.named(split.memorised)) for attack in attacks])
    new_key = check.new_key(attacks, new) if new is not None else None
    levels = [point.level for point in points] if keyed else []
    levels += [check.level(new_key)] if new_key else []
    shown = control.figures if control else same_key
    return AttackResult(
        verdict=verdict_of(levels, control=shown, settings=settings),
        prior=check.prior(attacks, old.named(split.others)),
        control=shown,
        old_key=old_key if keyed else same_key,
        new_key=new_key,
        same_key_other_images=same_key,
        curve=tuple(points),
        recommended_budget=recommended_budget([(point.pairs, point.level) for point in points]),
        notes=tuple(check.notes(control=shown, new=new, new_key=new_key)),
    )


def _gauge(old: Pairs, split: Split, second: Embed | None, lpips: Lpips | None) -> Gauge:
    references = old.named(split.references)
    if len(set(references.persons)) < 2:
        return Gauge(None, lpips)
    embed = second or fit_descriptor(references.originals, references.persons)
    identifier = Identifier.build(embed=embed, pictures=references.originals, persons=references.persons)
    return Gauge(identifier, lpips)
