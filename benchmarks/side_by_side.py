"""All variants on the images of one repeat, one after another, and what their pictures are worth."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from avih.settings import ProtectSettings, Recovery, preset
from benchmarks.baseline import AuthorsSettings
from benchmarks.machine import err
from benchmarks.options import Options
from benchmarks.quality import Judge, KeyPair, baseline_reaching, on_cpu
from benchmarks.report import BASELINE, Repeat, VariantRun, judged
from benchmarks.subjects import PUBLIC_SEED, SECRET, WRONG_SECRET, Network, Picture, Subjects
from benchmarks.trajectory import Course, watch_authors, watch_ours

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Variant:
    """One of our presets and the generators it runs with."""

    name: str
    settings: ProtectSettings
    key: Network
    wrong: Network


def our_variants(options: Options, subjects: Subjects) -> tuple[Variant, ...]:
    """Return the presets that stand beside the baseline: ``paper``, ``fast`` unmixed, and the keyed default."""
    paper = preset("paper").protect
    fast, keyed = preset("fast", recovery="unmixed").protect, preset("fast").protect
    most = {} if options.our_steps is None else {"steps": options.our_steps}
    return (
        Variant("paper", _changed(paper, steps=options.baseline_steps), subjects.plain, subjects.wrong),
        Variant("fast", _changed(fast, **most), subjects.plain, subjects.wrong),
        # The same codec and another secret: the hardest wrong key there is.
        Variant("keyed", _changed(keyed, **most), subjects.keyed, subjects.keyed),
    )


def _changed(settings: ProtectSettings, **changes: Any) -> ProtectSettings:
    return ProtectSettings.model_validate(settings.model_dump() | changes)


@contextmanager
def progressing(name: str, total: int) -> Iterator[Advance]:
    """Show a bar on the terminal's error stream, if it is a terminal."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task(name, total=total)
        yield lambda steps: bars.update(task, advance=steps)


class Bench:
    """Runs all variants on the images of one repeat after another.

    Args:
        options: what to do.
        subjects: what to do it on.
        batch_size: of the authors' loop.
        folder: for the pictures that are judged; emptied by its owner.
    """

    def __init__(self, options: Options, subjects: Subjects, *, batch_size: int, folder: Path) -> None:
        self.options, self.subjects, self.batch_size, self.folder = options, subjects, batch_size, folder
        self.variants = our_variants(options, subjects)
        self.recogniser = on_cpu(subjects.recogniser)

    def repeat(self, number: int) -> Repeat:
        """Run the variants one after another, so that a machine that slows down slows all of them."""
        begin, count = number * self.options.images, self.options.images
        pictures = self.subjects.faces.pictures[begin : begin + count]
        names = self.subjects.faces.names[begin : begin + count]
        judge = Judge(originals=pictures, recogniser=self.recogniser, folder=self.folder)
        course = self._watch_authors(pictures, seed=PUBLIC_SEED + begin)
        keys = _keys("unmixed", self.subjects.plain, self.subjects.wrong)
        moments, shipped = judge.moments(course, keys=keys)
        runs = {BASELINE: VariantRun(moments, shipped, baseline_reaching(moments), course.batch_size)}
        for variant in self.variants:
            course = self._watch_ours(variant, pictures, names)
            keys = _keys(variant.settings.recovery, variant.key, variant.wrong)
            moments, shipped = judge.moments(course, keys=keys)
            runs[variant.name] = judged(
                moments,
                shipped,
                target=runs[BASELINE].shipped.quality,
                tolerance=self.options.tolerance,
                batch_size=course.batch_size,
            )
        return runs

    def _watch_authors(self, pictures: Sequence[Picture], *, seed: int) -> Course:
        settings = AuthorsSettings(steps=self.options.baseline_steps)
        with self._telling(BASELINE, settings.steps) as (advance, tell):
            course = watch_authors(
                pictures=pictures,
                generator=self.subjects.plain.generator,
                recogniser=self.subjects.recogniser,
                settings=settings,
                batch_size=self.batch_size,
                seed=seed,
                device=self.options.device,
                progress=advance,
            )
            tell(course)
        return course

    def _watch_ours(self, variant: Variant, pictures: Sequence[Picture], names: Sequence[str]) -> Course:
        with self._telling(variant.name, variant.settings.steps) as (advance, tell):
            course = watch_ours(
                pictures=pictures,
                names=names,
                generator=variant.key.generator,
                recogniser=self.subjects.recogniser,
                settings=variant.settings,
                secret=SECRET,
                device=self.options.device,
                progress=advance,
            )
            tell(course)
        return course

    @contextmanager
    def _telling(self, name: str, steps: int) -> Iterator[tuple[Advance, Callable[[Course], None]]]:
        """Show a bar while a variant runs, and a line once it is done."""

        def tell(course: Course) -> None:
            last = course.snapshots[-1]
            err.print(
                f"  {name}: {last.step:g} steps of {self.options.images} images in {last.seconds:.1f} s"
            )

        with progressing(name, steps * self.options.images) as advance:
            yield advance, tell


def _keys(recovery: Recovery, key: Network, wrong: Network) -> KeyPair:
    return KeyPair(
        recovery=recovery,
        generator=on_cpu(key.generator),
        wrong_generator=on_cpu(wrong.generator),
        secret=SECRET,
        wrong_secret=WRONG_SECRET,
    )
