"""``avih plan``: what a run would take, from a calibration of seconds; no gallery is made."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.main import app
from flows.cli.options import (
    DebugOption,
    JsonOption,
    KeyStepsOption,
    LayoutOption,
    LimitOption,
    NewGalleryOption,
    PresetOption,
    RecogniserOption,
    StoreOption,
    WeightsOption,
)
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table

if TYPE_CHECKING:
    from avih.planning import Spread, StageCost
    from tasks.plan_gallery import GalleryPlan

DOING = {
    "align": "aligning a sample of {} faces",
    "key": "training a throw-away key for up to {} steps",
    "protect": "protecting {} copies of the sample under a throw-away key",
    "evaluate": "measuring {} of them",
}
COMPARED = {
    "nothing": "nothing is protected yet",
    "names": "by names only; photos whose content changed are not counted",
    "content": "by content",
}


class Told:
    """Says in one line what is being done, where no bar shows it."""

    def begin(self, stage: str, total: int) -> None:
        """Say it."""
        if stage in DOING and not err.is_terminal:
            err.print(f"plan: {DOING[stage].format(total)}")

    def advance(self, stage: str, done: int) -> None:
        """Nothing to say."""


@app.command()
def plan(
    source: Annotated[
        str, typer.Option(help="Folder of photos, dataset:NAME once fetched, or the word synthetic.")
    ],
    recogniser: RecogniserOption,
    weights: WeightsOption = None,
    store: StoreOption = None,
    preset: PresetOption = "fast",
    recovery: Annotated[
        str | None, typer.Option(help="keyed, sealed or unmixed.", show_default="the preset's")
    ] = None,
    limit: LimitOption = None,
    gallery: NewGalleryOption = None,
    layout: LayoutOption = "auto",
    key_steps: KeyStepsOption = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda.", show_default="AVIH_DEVICE, else auto")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of the machine per hour.")] = None,
    currency: Annotated[str, typer.Option(help="Currency of the price.")] = "EUR",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what avih run (method avih) would take: images, steps, hours, money. It needs no passphrase.

    Example: avih plan --source photos/ --recogniser mobilefacenet --weights W.safetensors --price 2.50
    """
    from avih.naming import Store, gallery_name, suggest_gallery_name

    with explained(debug):
        place = Store.open(store)
        from avih.errors import UsageError
        from avih.settings import AVIH
        from avih.settings import preset as preset_named

        name = gallery_name(gallery) if gallery else suggest_gallery_name(source)
        settings = preset_named(preset, recovery=recovery, key_steps=key_steps)
        if settings.protect.method != AVIH:
            raise UsageError(
                f"Expected a recovery of the method {AVIH}, the one that can be planned; got {recovery!r}."
            )
        index = settings.index.model_copy(update={"layout": layout, "limit": limit})
        err.print("plan: a few photos go through every stage in memory; this takes seconds")
        from tasks.plan_gallery import plan_gallery
        from tasks.progress import listening
        from tasks.records import RecogniserChoice

        with clean_stdout(), progress_bars(), listening(Told()):
            made = plan_gallery(
                source=source,
                gallery=name,
                recogniser=RecogniserChoice(card=recogniser, weights=str(weights) if weights else None),
                settings=settings.model_copy(update={"index": index}),
                store=place,
                remember=store is not None or place.root.is_dir(),
                device=device,
            )
        print_json(outcome(made, price, currency)) if as_json else _show(made, price, currency)


def outcome(made: "GalleryPlan", price: float | None, currency: str) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    facts = made.model_dump(mode="json")
    for stage, cost in zip(facts["stages"], made.stages, strict=True):
        stage["hours"] = _plain(cost.seconds.times(1 / 3600))
    money = None
    if price is not None:
        money = {"currency": currency, "price_per_hour": price} | _plain(made.hours.times(price))
    facts["money"] = money
    return facts


def _plain(spread: "Spread") -> dict[str, float]:
    return {"mean": spread.mean, "low": spread.low, "high": spread.high}


def _show(made: "GalleryPlan", price: float | None, currency: str) -> None:
    rows: dict[str, object] = {"photos": _photos(made)}
    rows["usable faces"] = f"{made.faces} of a sample of {made.sampled} photos"
    rows["steps per image"] = f"{_range(made.steps)} (in the sample {made.done} of {made.tried} were done)"
    rows |= {stage.stage: _stage(stage, made) for stage in made.stages}
    rows["hours in all"] = _range(made.hours)
    if price is not None:
        rows[f"money ({currency})"] = f"{_range(made.hours.times(price))} at {price:g} per hour"
    rows["machine"] = f"{made.device}: {made.machine}"
    rows["past plans"] = _past(made)
    for run in made.measured:
        where = "on this machine" if run.machine else "the machine was not noted"
        rows[f"measured in v{run.version:04d}"] = (
            f"{run.seconds_each:.3g} s per image for {run.images} images, the optimisation alone ({where})"
        )
    table(f"plan for {made.gallery}, made in {made.seconds:.0f} s", rows)
    if made.anew:
        err.print(f"note: nothing of {made.version} is taken over: {made.anew}", markup=False, soft_wrap=True)


def _photos(made: "GalleryPlan") -> str:
    source, how = made.source, COMPARED[made.source.compared]
    if source.compared == "nothing":
        return f"{source.photos}, all new: {how}"
    changed = "" if source.changed is None else f", {source.changed} changed"
    return f"{source.photos}; against {made.version}: {source.new} new{changed}, {source.removed} removed ({how})"


def _stage(stage: "StageCost", made: "GalleryPlan") -> str:
    if not stage.units or stage.seconds_each is None:
        return (
            f"nothing to do: key {made.key_id} fits"
            if stage.stage == "key" and made.key_id
            else "nothing to do"
        )
    each = stage.seconds_each
    return (
        f"{each.mean:.3g} s ({each.low:.3g} to {each.high:.3g}) x {stage.units} {stage.unit} = "
        f"{_duration(stage.seconds.mean)}"
    )


def _duration(seconds: float) -> str:
    size, unit = next((pair for pair in ((3600, "h"), (60, "min")) if seconds >= pair[0]), (1, "s"))
    return f"{seconds / size:.3g} {unit}"


def _past(made: "GalleryPlan") -> str:
    past = made.past
    if past.low is None or past.high is None or past.median is None:
        return f"{past.plans}, no past run to compare with"
    return (
        f"{past.plans} of this gallery, {past.compared} followed by a run: actual / planned {past.low:.2f} to "
        f"{past.high:.2f}, median {past.median:.2f}"
    )


def _range(spread: "Spread") -> str:
    return f"{spread.mean:.3g} ({spread.low:.3g} to {spread.high:.3g})"
