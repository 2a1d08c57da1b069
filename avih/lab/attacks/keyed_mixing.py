"""Attack 12: against the keyed mixing, with everything public but the secret.

What an attacker can have is tried: pairs of the key, chosen pictures, many versions of a photo, statistics over
everything stored, and a fit picture by picture with the generator at hand.

Not covered: weaknesses of ChaCha20, HKDF or HMAC themselves; the machine on which pictures are hidden (timing,
memory, its random numbers); an attacker who can write to the store (manifests are signed against that); what
the recogniser tells, whatever the key is (the attack ``recogniser_side``). With a fresh shift for every value all
arrangements are possible, so the fit can find no more than a natural face: it shows what a relaxed permutation
is worth, and does not prove that there is no better one.

Reading by differences supposes one mixing for all pictures that are compared; where only two stored pictures
share one, that is found (``shared_shifts``) and not exploited. Correlations are looked for over sampled places,
and a dependence weaker than the bound that is told with them would not be seen.
"""

from collections.abc import Iterator

import numpy as np

from avih.lab.attack import AttackFacts, Finding, Guess, Kind, Result
from avih.lab.lab import Lab, Lesson
from avih.lab.tools.mixing_attacks import dense_guess, fit_arrangements
from avih.lab.tools.mixing_chosen import chosen, guess_by_differences, public_generator, reuse, versions
from avih.lab.tools.mixing_statistics import MOST, histogram_match, strongest_correlation

FACTS = AttackFacts(
    name="keyed_mixing",
    title="Everything but the secret, against the keyed mixing",
    claim="Our own claim (docs/method.md): without the secret a stored picture tells f(x) and nothing else, as "
    "every picture is mixed afresh.",
    holds="All leaked pairs, any picture protected at will, many versions of a photo, the generator, the "
    "recogniser, the program and all settings.",
    recoveries=("keyed",),
)
FEWEST = 10  # pictures, below which correlations say nothing


def run(lab: Lab) -> Iterator[Result]:
    """Try everything; nothing here needs the gallery's secret."""
    yield from _maps(lab)
    yield from chosen(lab)
    yield from reuse(lab)
    yield from versions(lab)
    yield from _statistics(lab)
    yield from _fits(lab)


def _maps(lab: Lab) -> Iterator[Guess]:
    """Learn from all leaked pairs: networks, a dense map, and differences as under one mixing."""
    leaked, targets, count = lab.leaked, lab.targets, len(lab.leaked)
    appended = (None, public_generator(lab))
    lab.tell(f"networks, all {count} pairs")
    attacks = lab.train_all([Lesson(leaked, generator) for generator in appended])
    for generator, attack in zip(appended, attacks, strict=True):
        label = f"network, all {count} pairs{', and the generator' if generator else ''}"
        yield lab.network_guess(attack, label, targets, pairs=count, steps=attack.steps)
    lab.tell(f"dense map and differences, {count} pairs")
    blind = np.broadcast_to(leaked.originals.mean(axis=0).round().astype(np.uint8), targets.originals.shape)
    mapped = dense_guess(pairs=leaked, protected=targets.protected)
    yield Guess(f"dense linear map, all {count} pairs", targets, mapped, (blind,), {"pairs": count})
    yield guess_by_differences(lab, leaked, targets, f"differences, all {count} known pairs")


def _statistics(lab: Lab) -> Iterator[Finding]:
    """Look for the original in positions and values of what is stored."""
    images = (*lab.leaked.images, *lab.targets.images)[-MOST:]
    pairs = lab.subject.pairs.named(images)
    if len(pairs) < FEWEST:
        return
    lab.tell(f"statistics of positions and values, {len(pairs)} pictures")
    strongest = strongest_correlation(pairs, seed=lab.settings.seed)
    yield Finding(
        "correlation of a stored value with any value of the original",
        {"strongest": strongest.found, "bound": strongest.bound, "comparisons": strongest.comparisons},
        f"The strongest correlation over {len(pairs)} pictures, as values are and folded about the middle, "
        f"{'is above' if strongest.surely else 'stays below'} what chance gives.",
        # f(x') = f(x) may show in stored values too, so this alone is no proof against the mixing.
        level="warn" if strongest.surely else "pass",
    )
    photo, person = histogram_match(pairs)
    for what, matched in (("photo", photo), ("person", person)):
        if matched is not None:
            yield Finding(
                f"which {what} it is, by the histogram of values",
                {"rate": matched.rate, "chance": matched.chance, "tries": matched.tries},
                "The most alike histogram among all originals, folded about the middle: rank-1 rate.",
                level=matched.level,
            )


def _fits(lab: Lab) -> Iterator[Guess]:
    """Fit an arrangement of the stored values picture by picture, without and with the features."""
    targets = lab.first(lab.targets, lab.settings.fit_pictures)
    face = lab.leaked.originals.mean(axis=0).round().astype(np.uint8)
    for recogniser in (None, lab.subject.recogniser):
        goal = "a natural face" if recogniser is None else "a natural face with the features"
        label = f"relaxed permutation fitted to {goal}"
        lab.tell(label)
        pictures = fit_arrangements(
            protected=targets.protected, generator=public_generator(lab), face=face, steps=lab.settings.fit_steps,
            recogniser=recogniser,
        )  # fmt: skip
        kind: Kind | None = None if recogniser is None else "by design"
        yield Guess(label, targets, pictures, (), {"steps": lab.settings.fit_steps}, kind)
