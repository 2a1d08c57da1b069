"""Plan a run: calibrate on a few photos, extrapolate, and say how far past plans were off. Makes no gallery."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from avih.align import Aligner
from avih.datasets import Photo, PhotoSource, open_source
from avih.device import chosen_device, machine_name
from avih.keys import KeyRecord
from avih.naming import Store
from avih.plan_history import PlanLine, newest_protected, read_plans, read_runs, remember_plan
from avih.planning import (
    Accuracy,
    PastRun,
    Spread,
    StageCost,
    accuracy,
    expected_share,
    hours_in_all,
    measured,
    seconds_each,
    steps_each,
)
from avih.recognisers import Recogniser, load_recogniser
from avih.scanning import select_photos
from avih.settings import KeySettings, RunSettings
from avih.source_changes import SourceChanges
from tasks.calibrate import FaceSample, sample_faces, sample_training
from tasks.calibrate_protection import ProtectSample, sample_protection, throw_away_generator
from tasks.records import RecogniserChoice, Record
from tasks.standing import Standing, key_to_use, source_changes, standing

MOST_SAMPLED = 64  # photos that are tried until enough of them show a face
EIGHTHS = (0, 4, 2, 6, 1, 5, 3, 7)  # every eighth of them first, so that few are spread as widely as many
SHAPE = ("architecture", "width", "blocks", "trunk_norm_only")  # of a generator, as a key's recipe has them


class GalleryPlan(Record):
    """What a run is expected to take, and on what that rests; plain figures, nothing of a photo.

    Attributes:
        source: photos, and how they differ from ``version`` of the gallery (None: there is none yet).
        anew: why nothing of that version can be taken over; empty where it can.
        to_protect: photos that a run would begin with.
        key_id: the key that a run would use; None where it makes a new one.
        sampled, faces: photos that were tried, and how many showed a usable face.
        steps: gradient steps per image; ``done`` of ``tried`` images met the stop rule in the sample.
        optimise: seconds per image of the optimisation alone, which runs measure too.
        hours: in all.
        past, measured: how far past plans were off, and past runs like this one.
        remembered: the file that holds this plan too.
        seconds: what planning took.
    """

    gallery: str
    source: SourceChanges
    version: str | None
    anew: str
    to_protect: int
    key_id: str | None
    device: str
    machine: str
    sampled: int
    faces: int
    steps: Spread
    tried: int
    done: int
    optimise: Spread
    stages: tuple[StageCost, ...]
    hours: Spread
    past: Accuracy = Accuracy(0, 0)
    measured: tuple[PastRun, ...] = ()
    remembered: str | None = None
    seconds: float = 0.0


def plan_gallery(
    *,
    source: str,
    gallery: str,
    recogniser: RecogniserChoice,
    settings: RunSettings,
    store: Store,
    remember: bool,
    device: str | None = None,
) -> GalleryPlan:
    """Calibrate and extrapolate; photos, faces and the throw-away key stay in memory.

    Args:
        source: a folder of photos, a data set that was fetched (``dataset:NAME``), or ``synthetic``.
        gallery: its name.
        recogniser: the service model.
        settings: what the run would get.
        store: where galleries and keys are; need not exist.
        remember: append the plan to the gallery's list of plans.
        device: see :func:`avih.device.chosen_device`.

    Raises:
        UsageError: a source without photos or faces, or a device that cannot be used.
        KeyRefused: the passphrase in the environment is not that of the store.
    """
    began = time.perf_counter()
    target = chosen_device(device)
    photos = open_source(source=source, layout=settings.index.layout, downloads=store.sources)
    cache = store.sources if store.root.is_dir() else None
    network = load_recogniser(
        card=recogniser.card, weights=recogniser.weights_path, cache=cache, device=str(target)
    )
    align = settings.align.model_copy(update={"template": network.card.template})
    settings = settings.model_copy(update={"align": align})
    faces = _sample_faces(photos, settings, target)
    found = standing(store=store, gallery=gallery, settings=settings, recogniser=network.fingerprint)
    reading = sum(faces.read) / len(faces.read)
    changes = source_changes(source=photos, settings=settings, store=store, found=found, reading=reading)
    key = key_to_use(store=store, found=found, settings=settings)
    training = None if key else _training(settings, target)
    trial = sample_protection(
        faces=faces.faces,
        generator=throw_away_generator(_shape(key, settings.key), device=target),
        recogniser=network,
        settings=settings.protect,
    )
    seen = _Seen(faces, found, changes, key, training, trial)
    plan = _extrapolated(seen, settings, gallery=gallery, device=target)
    plan = _with_history(plan, settings, network, store=store, remember=remember)
    return plan.model_copy(update={"seconds": time.perf_counter() - began})


@dataclass(frozen=True, repr=False)
class _Seen:
    """What was found in the store and measured on the sample."""

    faces: FaceSample
    found: Standing | None
    changes: SourceChanges
    key: KeyRecord | None
    training: Spread | None
    trial: ProtectSample

    @property
    def to_protect(self) -> int:
        """Photos that a run would begin with."""
        if self.found is None or self.found.anew:
            return self.changes.photos
        return self.changes.new + (self.changes.changed or 0)

    def with_face(self, photos: int) -> int:
        """Return how many of so many photos show a usable face."""
        return expected_share(photos=photos, sampled=self.faces.sampled, fitting=self.faces.found)


def _extrapolated(seen: _Seen, settings: RunSettings, *, gallery: str, device: torch.device) -> GalleryPlan:
    faces, found, trial, most = seen.faces, seen.found, seen.trial, settings.protect.steps
    steps = steps_each(trial.trials, most=most)
    optimise = Spread.of(seconds_each(trial.trials, seconds=trial.seconds, most=most))
    stages = _stages(seen, optimise, settings)
    return GalleryPlan(
        gallery=gallery,
        source=seen.changes,
        version=found.run.version if found else None,
        anew=found.anew if found else "",
        to_protect=seen.to_protect,
        key_id=seen.key.key_id if seen.key else None,
        device=str(device),
        machine=machine_name(device),
        sampled=faces.sampled,
        faces=faces.found,
        steps=Spread.of(steps) if settings.protect.stop_cosine is not None else Spread(most, most, most),
        tried=len(trial.trials),
        done=sum(one.done for one in trial.trials),
        optimise=optimise,
        stages=stages,
        hours=hours_in_all(stages),
    )


def _sample_faces(source: PhotoSource, settings: RunSettings, device: torch.device) -> FaceSample:
    """Align photos from all over the source."""
    limit, align = settings.index.limit, settings.align
    count = sum(1 for _ in select_photos(source.photos, limit))
    tried = min(count, MOST_SAMPLED)
    places = {number * count // tried for number in range(tried)}
    spread = [p for place, p in enumerate(select_photos(source.photos, limit)) if place in places]
    aligner = Aligner(
        template=align.template,
        minimum_confidence=align.minimum_confidence,
        batch_size=align.batch_size,
        device=str(device),
    )
    photos: list[Photo] = [photo for first in EIGHTHS for photo in spread[first::8]]
    return sample_faces(source=source, photos=photos, aligner=aligner)


def _shape(key: KeyRecord | None, settings: KeySettings) -> KeySettings:
    """Return settings with the generator's shape of the key that is there."""
    if key is None:
        return settings
    known = {name: key.recipe[name] for name in SHAPE if name in key.recipe}
    return KeySettings.model_validate(settings.model_dump() | known)


def _training(settings: RunSettings, device: torch.device) -> Spread | None:
    """Time steps of a new key's training; None for a key without a generator."""
    if settings.key.architecture == "none":
        return None
    return Spread.of(sample_training(settings=settings.key, template=settings.align.template, device=device))


def _stages(seen: _Seen, optimise: Spread, settings: RunSettings) -> tuple[StageCost, ...]:
    """Multiply what the sample took by what there is to do."""
    faces, fresh = seen.faces, seen.to_protect
    # Any change begins a version of its own, and a version is measured whole.
    measuring = seen.with_face(seen.changes.photos) if fresh or seen.changes.removed else 0
    finish, evaluate = Spread.of([seen.trial.finish]), Spread.of([seen.trial.evaluate])
    training = seen.training
    return (
        StageCost("index", seen.changes.photos, "images", Spread.of(faces.read)),
        StageCost("align", fresh, "images", Spread.of(faces.align)),
        StageCost("key", settings.key.steps if training else 0, "steps", training),
        StageCost("protect", seen.with_face(fresh), "images", optimise.plus(finish)),
        StageCost("evaluate", measuring, "images", evaluate),
    )


def _with_history(
    plan: GalleryPlan, settings: RunSettings, recogniser: Recogniser, *, store: Store, remember: bool
) -> GalleryPlan:
    """Hold past plans against past runs, and remember this one."""
    at: dict[str, Any] = {"store": store, "gallery": plan.gallery}
    digest, fingerprint = settings.protect.digest(), recogniser.fingerprint
    plans, runs = read_plans(**at), read_runs(**at)
    alike = measured(runs, settings_sha256=digest, recogniser=fingerprint, machine=plan.machine)
    remembered = None
    if remember:
        each = {stage.stage: stage.seconds_each.mean for stage in plan.stages if stage.seconds_each}
        line = PlanLine(
            time=datetime.now(UTC).isoformat(timespec="seconds"), settings_sha256=digest, recogniser=fingerprint,
            card=recogniser.card.name, machine=plan.machine, newest=newest_protected(**at),
            images=plan.to_protect, seconds_each=each | {"optimise": plan.optimise.mean},
        )  # fmt: skip
        remembered = str(remember_plan(line, **at))
    past = accuracy([line.past() for line in plans], runs)
    return plan.model_copy(update={"past": past, "measured": tuple(alike), "remembered": remembered})
