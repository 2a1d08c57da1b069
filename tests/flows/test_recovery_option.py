"""``avih run --recovery``: which settings each choice gives, and what is refused before anything begins."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from avih.datasets.synthetic import SyntheticFaces
from avih.settings import (
    FAST_UNMIXED_KEY,
    FAST_UNMIXED_PROTECT,
    SEALED_KEY,
    SEALED_PROTECT,
    RunSettings,
    preset,
)
from avih.veils.exposure import WARNING
from flows.cli import stages  # noqa: F401  # with a second command ``run`` is a word of the command line
from flows.cli.main import app


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Call ``avih run``; the flow is stood in for by something that keeps the settings it is given."""
    import flows.run_gallery

    SyntheticFaces(persons=1, photos_per_person=1, first_person=40).write(tmp_path / "photos")
    given: list[RunSettings] = []

    def keep(*, settings: RunSettings, **_: object) -> SimpleNamespace:
        given.append(settings)
        summary = SimpleNamespace(
            counts={}, metrics={}, report="", owner_contact_sheet=None, broken_limits=(), notes=()
        )
        return SimpleNamespace(
            gallery="photos", version="v0001", key_id="0" * 16, summary=summary, run=SimpleNamespace(run_id=""),
            live=True, reasons=(), added=0, changed=0, removed=0, shards_made=0, counts={},
        )  # fmt: skip

    monkeypatch.setattr(flows.run_gallery, "run_gallery", keep)

    def call(*more: str) -> tuple[Result, list[RunSettings]]:
        arguments = ["run", "--source", str(tmp_path / "photos"), "--recogniser", "synthetic", "--json",
                     "--store", str(tmp_path / "store"), *more]  # fmt: skip
        return CliRunner().invoke(app, arguments), given

    return call


@pytest.mark.parametrize(
    ("options", "key", "protect"),
    [
        ((), preset("fast").key, preset("fast").protect),
        (("--recovery", "sealed"), SEALED_KEY, SEALED_PROTECT),
        (("--recovery", "unmixed"), FAST_UNMIXED_KEY, FAST_UNMIXED_PROTECT),
        (("--preset", "paper"), preset("paper").key, preset("paper").protect),
        (("--preset", "paper", "--recovery", "unmixed"), preset("paper").key, preset("paper").protect),
        (("--method", "avih"), preset("fast").key, preset("fast").protect),
        (("--method", "person_veil"), SEALED_KEY, preset("fast", method="person_veil").protect),
        (("--recovery", "veil"), SEALED_KEY, preset("fast", method="person_veil").protect),
        (
            ("--method", "v_uap", "--photos-per-veil", "3"),
            SEALED_KEY,
            preset("fast", method="v_uap", options={"photos_per_veil": 3}).protect,
        ),
        (("--method", "lie"), preset("fast", method="lie").key, preset("fast", method="lie").protect),
        (("--method", "veil_privacy"), SEALED_KEY, preset("fast", method="veil_privacy").protect),
    ],
)
def test_a_recovery_chooses_key_and_protection(asked, options, key, protect):
    result, given = asked(*options)
    assert result.exit_code == 0, result.stderr
    assert [(settings.key, settings.protect) for settings in given] == [(key, protect)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--preset", "paper", "--recovery", "sealed"), "got 'paper' with 'sealed'"),
        (("--preset", "paper", "--recovery", "keyed"), "got 'paper' with 'keyed'"),
        (("--recovery", "open"), "got 'fast' with 'open'"),
        (("--recovery", "sealed", "--key-steps", "9"), "no training steps for a sealed key"),
        (("--method", "person_veil", "--recovery", "keyed"), "the recovery veil for the method person_veil"),
        (("--method", "lie", "--preset", "paper"), "got 'paper'"),
        (("--method", "itp"), "used from Python only"),
        (("--method", "blur"), "does not exist"),
        (("--photos-per-veil", "2"), "no options for the method avih"),
        (("--method", "lie", "--photos-per-veil", "2"), "got photos_per_veil"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, options, told):
    result, given = asked(*options)
    assert result.exit_code == 2 and not given
    assert told in " ".join(result.stderr.split())


def test_a_method_that_needs_a_warning_gives_it_before_anything_is_done(asked):
    result, _ = asked("--method", "person_veil")
    assert " ".join(WARNING.split()) in " ".join(result.stderr.split())
    assert "Photos under one veil" not in asked()[0].stderr


def test_the_help_names_all_three():
    shown = " ".join(CliRunner().invoke(app, ["run", "--help"]).stdout.split())
    assert all(word in shown for word in ("--recovery", "sealed", "unmixed", "keyed"))
