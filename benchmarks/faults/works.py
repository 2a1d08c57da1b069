"""What is done while things break: commands as people give them, and flows with the cheapest settings there are.

These run in forked processes (``processes.py``); imports are inside, so that the benchmark itself stays light.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GALLERY, CARD = "people", "synthetic"
PERSONS, PHOTOS_EACH, SHARD_SIZE, BATCH = 3, 2, 2, 4


def settings(shard_size: int = SHARD_SIZE) -> Any:
    """Return settings in which every step is taken and none is hard; no figure of theirs is worth anything."""
    from avih.evaluation.summary import Limits
    from avih.settings import EvaluateSettings, IndexSettings, KeySettings, ProtectSettings, RunSettings

    loose = Limits(ssim_e_max=1, ssim_d_min=-1, cos_mean_min=-1, cos_min_min=-1, accuracy_drop_max=1,
                   wrong_key_ssim_d_max=1, removed_max=1)  # fmt: skip
    return RunSettings(
        index=IndexSettings(shard_size=shard_size),
        key=KeySettings(steps=1, width=4, blocks=1, batch_size=1),
        protect=ProtectSettings(batch_size=BATCH, steps=6),
        evaluate=EvaluateSettings(contact_sheet_images=1, limits=loose),
    )


def command(*arguments: str) -> None:
    """Run an ``avih`` command."""
    from flows.cli.main import app

    app(list(arguments), prog_name="avih")


@contextmanager
def as_command() -> Iterator[None]:
    """End as a command ends: messages for errors, and its exit codes."""
    import typer

    from flows.cli.output import clean_stdout, explained

    try:
        with explained(debug=False), clean_stdout():
            yield
    except typer.Exit as left:
        sys.exit(left.exit_code)


def run_all(store: str, source: str) -> None:
    """Run the whole flow, as ``avih run`` does, with the cheap settings."""
    from flows.run_gallery import run_gallery
    from tasks.records import RecogniserChoice

    with as_command():
        run_gallery(
            store=store, gallery=GALLERY, source=source, recogniser=RecogniserChoice(card=CARD),
            settings=settings(), enforce_limits=False,
        )  # fmt: skip


def rotate(store: str) -> None:
    """Rotate the key, as ``avih rotate`` does, with the cheapest attack check."""
    from avih.attack.settings import AttackSettings
    from avih.key_gate import GateSettings
    from flows.rotate import rotate_keys
    from tasks.rotation_plan import RotationPolicy

    attack = AttackSettings(
        pairs=(2,), steps=1, minimum_steps=1, test_images=2, width=4, blocks=0, judge_width=4, prior_steps=0,
        batch_size=1, control_pairs=2, control_tests=1, control_key_steps=1, control_key_width=4, control_steps=1,
        control_ssim_advantage=-1, pass_ssim_advantage=1, fail_ssim_advantage=1, second_minimum=1.0,
    )  # fmt: skip
    with as_command():
        rotate_keys(
            store=store, gallery=GALLERY, attack=attack, gate=GateSettings(images=2, steps=2),
            policy=RotationPolicy(promote_on_warn=True),
        )  # fmt: skip


def prepare(root: str, persons: int = PERSONS, shard_size: int = SHARD_SIZE) -> None:
    """Draw photos, index and align them and make a key: all that protecting starts from."""
    from avih.datasets.synthetic import SyntheticFaces
    from avih.naming import Store
    from avih.recognisers import read_card
    from tasks.align_shard import align_shard
    from tasks.create_key import create_key
    from tasks.index_source import index_source
    from tasks.records import RecogniserChoice
    from tasks.run_record import RunRecord, save_run

    photos, store, chosen = Path(root) / "photos", Store.find(Path(root) / "store"), settings(shard_size)
    SyntheticFaces(persons=persons, photos_per_person=PHOTOS_EACH, first_person=40).write(photos)
    template = read_card(CARD).template
    aligned = chosen.align.model_copy(update={"template": template})
    indexed = index_source(store=store.address, gallery=GALLERY, source=str(photos), settings=chosen.index)
    key = create_key(
        store=store.address, settings=chosen.key, recovery=chosen.protect.recovery, template=template,
        pictures=None, actor="benchmark", reason="faults", activate=True,
    )  # fmt: skip
    record = RunRecord(
        gallery=GALLERY, version=indexed.version, source=str(photos), recogniser=RecogniserChoice(card=CARD),
        key_id=key.key_id, settings=chosen.model_copy(update={"align": aligned}),
    )  # fmt: skip
    for number in indexed.shards:
        align_shard(
            place=record.place(store), number=number, source=str(photos), layout="auto", settings=aligned
        )
    save_run(record, store=store)


def cheap_keys() -> None:
    """Let new keys cost little to open: half a second each would hide what is looked at here."""
    from avih.keys import sealing

    object.__setattr__(sealing.DEFAULT_COST, "log2_n", 14)
