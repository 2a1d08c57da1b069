"""Run an audit: parts, gauge, controls, attacks, verdict; only of consenting data sets pictures leave it."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from avih.attack.pairs import Pairs, Pictures
from avih.attack.second import Embed, Identifier
from avih.errors import TooFew
from avih.evaluation.lpips_metric import WITHOUT_FILE, Lpips
from avih.lab.attack import Attack, Finding, Guess
from avih.lab.budget import leak_budget
from avih.lab.controls import run_controls
from avih.lab.gauge import Gauge
from avih.lab.lab import Lab
from avih.lab.registry import attacks
from avih.lab.result import AttackEntry, LabResult, Measured, Told
from avih.lab.scheme import Scheme
from avih.lab.second import NAME, fit_second
from avih.lab.settings import LabSettings
from avih.lab.subject import FEWEST_TARGETS, Subject, draw_parts
from avih.lab.verdict import attack_verdict, verdict_of, worst
from avih.lab.words import summary_of

logger = logging.getLogger(__name__)
NOTHING: Final[Mapping[str, AttackEntry]] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Shown:
    """What an attack made of a few pictures, with the truth and what the attacker saw; in memory.

    Shape:
        - truth, seen, prior, guess: ``(n, H, W, 3)`` uint8; prior is the guess without the picture.
    """

    attack: str
    label: str
    truth: Pictures
    seen: Pictures
    prior: Pictures
    guess: Pictures


@dataclass(frozen=True, eq=False)
class Audit:
    """The result, and the pictures that may be shown: none unless the data set consents."""

    result: LabResult
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Second:
    """A second recogniser and its name; by default a classical one is fitted."""

    embed: Embed
    name: str


def audit(
    *,
    subject: Subject,
    settings: LabSettings,
    names: Sequence[str] = (),
    second: Second | None = None,
    lpips: Lpips | None = None,
    tell: Callable[[str], None] | None = None,
    done: Callable[[], None] | None = None,
    known: Mapping[str, AttackEntry] = NOTHING,
    keep: Callable[[AttackEntry], None] | None = None,
) -> Audit:
    """Attack a gallery version in every way that makes sense for it, and judge.

    Args:
        subject: the gallery version.
        settings: how hard to try, and the limits.
        names: only these attacks; by default all.
        second: recogniser that took no part in protection.
        lpips: the metric, where its weights are at hand.
        tell: takes a line about what is going on.
        done: called after the controls and after each attack.
        known: what attacks found before this audit was cut off, by name; they are not run again.
        keep: takes what each attack found, as soon as it is over.

    Raises:
        UsageError: too few persons or pictures, or no such attack.
    """
    began, told, ticked = time.perf_counter(), tell or logger.info, done or (lambda: None)
    chosen = attacks(names)
    parts = draw_parts(subject, targets=settings.targets, leaked=settings.most_leaked)
    lab = Lab(subject, parts, settings, Scheme(subject, settings, told), told)
    gauge = _gauge(lab, second, lpips)
    told(f"{len(lab.leaked)} pairs may leak, {len(lab.targets)} pictures of other persons are attacked")
    told("the best guess without a picture")
    _ = lab.blank  # its cost is no attack's
    controls = tuple(run_controls(lab, gauge))
    ticked()
    results: list[AttackEntry] = []
    shown: list[Shown] = []
    for attack in chosen:
        if attack.facts.name in known:
            results.append(known[attack.facts.name])
        else:
            entry, seen = _run(attack, lab, gauge)
            results.append(entry)
            shown += [seen] if seen and subject.consenting else []
            if keep:
                keep(entry)
        ticked()
    whole = tuple(results)
    verdict = verdict_of(whole, controls)
    result = LabResult(
        verdict=verdict,
        summary=summary_of(verdict, whole, controls),
        gallery=subject.gallery,
        version=subject.version,
        method=subject.protect.method,
        recovery=subject.protect.recovery,
        profile=settings.profile,
        data=subject.data,
        recogniser=subject.recogniser.card.name,
        second_recogniser=gauge.name,
        chance=gauge.chance,
        images=len(subject.pairs),
        persons=len(set(subject.pairs.persons)),
        targets=len(lab.targets),
        controls=controls,
        attacks=whole,
        leak_budget=leak_budget(whole),
        limits=settings.limits,
        notes=tuple(_notes(lab, gauge)),
        seconds=time.perf_counter() - began + sum(one.cost_s for one in known.values()),
    )
    return Audit(result, tuple(shown))


def _gauge(lab: Lab, second: Second | None, lpips: Lpips | None) -> Gauge:
    persons, originals = lab.parts.references
    chosen = second or Second(fit_second(originals, persons), NAME)
    identifier = Identifier.build(embed=chosen.embed, pictures=originals, persons=persons)
    limits = lab.settings.limits
    gauge = Gauge(identifier, chosen.name, limits, lpips=lpips)
    rate = gauge.scores(lab.targets.originals, lab.targets).id_rate or 0.0
    return Gauge(identifier, chosen.name, limits, identity=rate >= limits.second_minimum, lpips=lpips)


def _run(attack: Attack, lab: Lab, gauge: Gauge) -> tuple[AttackEntry, Shown | None]:
    """Run one attack and measure what it yields; an attack that breaks says so and leaves the others alone."""
    facts, subject = attack.facts, lab.subject
    whole = {name: getattr(facts, name) for name in ("name", "title", "claim", "holds", "kind")}
    if not facts.fits(method=subject.protect.method, recovery=subject.protect.recovery):
        note = f"Makes no sense for {subject.protect.method}, {subject.protect.recovery}"
        return AttackEntry(**whole, verdict="does not apply", note=note), None
    lab.tell(f"{facts.name}: {facts.title}")
    began = time.perf_counter()
    variants: list[Measured] = []
    findings: list[Told] = []
    best: tuple[Measured, Guess] | None = None
    note, broke = "", False
    try:
        for found in attack.run(lab):
            if isinstance(found, Finding):
                findings.append(_told(found))
                continue
            measured = gauge.measure(found, blank=lab.blank, kind=facts.kind)
            variants.append(measured)
            best = (measured, found) if best is None or worst([best[0], measured]) is measured else best
    except TooFew as error:  # for (the rest of) this attack: told, and not taken for a pass
        note = str(error)
        if not variants and not findings:
            return AttackEntry(**whole, verdict="does not apply", note=note, cost_s=_since(began)), None
    except Exception as error:  # whatever it is, the other attacks do not depend on it; it is no pass either
        logger.exception("attack %s broke", facts.name)
        note, broke = f"{type(error).__name__}: {error}", True
    verdict = attack_verdict(variants, [one.level for one in findings if one.level], kind=facts.kind)
    result = AttackEntry(
        **whole,
        verdict="error"
        if broke and verdict != "fail"
        else verdict,  # what got through before did get through
        cost_s=_since(began),
        variants=tuple(sorted(variants, key=lambda one: one is not (best and best[0]))),
        findings=tuple(findings),
        note=note,
        **(_figures(best[0]) if best else {}),
    )
    return result, _shown(facts.name, best[1], lab) if best else None


def _figures(best: Measured) -> dict[str, object]:
    intervals = {
        "id_rate": best.id_ci,
        "id_advantage": best.id_advantage_ci,
        "ssim_advantage": best.ssim_advantage_ci,
        "tar": best.tar_ci,
    }
    names = ("id_rate", "prior_id_rate", "tar", "ssim", "ssim_advantage")
    return {name: getattr(best, name) for name in names} | {"ci": intervals}


def _told(found: Finding) -> Told:
    values = {name: None if value is None else float(value) for name, value in found.values.items()}
    return Told(label=found.label, values=values, text=found.text, level=found.level)


def _shown(name: str, guess: Guess, lab: Lab) -> Shown:
    """Keep a few reconstructions, of as many persons as there are."""
    targets: Pairs = guess.targets
    _, first = np.unique(np.array(targets.persons), return_index=True)
    rows = np.sort(first)[: lab.settings.shown]
    prior = guess.blind[0] if guess.blind else np.broadcast_to(lab.blank, targets.originals.shape)
    parts = (targets.originals, targets.protected, prior, guess.pictures)
    return Shown(name, guess.label, *(pictures[rows] for pictures in parts))


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)


def _notes(lab: Lab, gauge: Gauge) -> list[str]:
    """Say what the figures are worth."""
    notes = [WITHOUT_FILE] if gauge.lpips is None else []
    if not gauge.identity:
        notes.append("The second recogniser is too weak on originals: identification does not count.")
    if len(lab.targets) < FEWEST_TARGETS:
        notes.append(f"Only {len(lab.targets)} pictures could be attacked: the figures are rough.")
    if lab.scheme.cheap:
        notes.append(
            "The lab's own keys and pictures were made by a shorter recipe than the gallery's, in either "
            "profile: whoever spends the time on keys of the same recipe attacks better than zero_leak, "
            "external_keys and gradient did here."
        )
    if lab.scheme.shares_generator:
        notes.append(
            "The lab's own keys have secrets of their own and the gallery's generator, as a key with a renewed "
            "secret has: the generator is public, and the secret is what counts."
        )
    return notes
