"""A gallery that costs nothing to make, and audits of it that cost next to nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from avih.attack.settings import AttackSettings
from avih.evaluation.summary import Limits
from avih.lab import registry
from avih.lab.settings import PROFILES, LabSettings
from avih.settings import RunSettings
from small_methods import Gallery, made, settings_of
from tasks import opened
from tasks.run_record import load_run, save_run

# Everything is done, nothing is learnt: what attacks can do has tests of its own.
TINY = LabSettings(
    network=AttackSettings(
        steps=2, minimum_steps=1, check_every=1, patience=1, width=4, blocks=0, judge_width=2, prior_steps=1
    ),
    targets=2, leaks=(2,), most_leaked=4, shown=1,
)  # fmt: skip
ONE = ("same_key_network",)


@contextmanager
def tiny_lab() -> Iterator[pytest.MonkeyPatch]:
    """Leave the lab one attack, and give the quick profile tiny sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "NAMES", ONE)
        patch.setitem(PROFILES, "quick", TINY)
        yield patch


def light_settings() -> RunSettings:
    """The block cipher, which needs no optimisation, with limits that it keeps to."""
    chosen = settings_of("lie")
    loose = Limits(ssim_e_max=1, ssim_d_min=-1, cos_mean_min=-1, cos_min_min=-1, accuracy_drop_max=1,
                   wrong_key_ssim_d_max=1, removed_max=1)  # fmt: skip
    return chosen.model_copy(update={"evaluate": chosen.evaluate.model_copy(update={"limits": loose})})


def light_gallery(root: Path) -> Gallery:
    """Two photos each of four persons, live."""
    return made(root, light_settings())


def copied(gallery: Gallery, root: Path) -> Gallery:
    """A copy to change at will; its source stays that of the gallery until ``from_source`` says otherwise."""
    shutil.copytree(gallery.root, root / "copy")
    opened.forget()
    return Gallery(root / "copy", gallery.settings, gallery.result, orchestrated=False)


def from_source(gallery: Gallery, source: str) -> None:
    """Let the current version of a gallery come from another source."""
    record = load_run(store=gallery.store, gallery="people")
    save_run(record.model_copy(update={"source": source}), store=gallery.store)
