"""``avih reproduce`` as a flow: what is done is kept, what cannot run says so, and one failure is one table's."""

import json
import sys
from pathlib import Path

import pytest

from avih.errors import AvihError, UsageError
from avih.naming import Store
from avih.reproduction import registry
from avih.reproduction.context import Context
from avih.reproduction.outcome import NotRun, Outcome, Row
from avih.reproduction.registry import EXPERIMENTS, Experiment
from avih.reproduction.report import as_json, write_report
from tasks.reproduce import Data, read_results

MEASURED = Outcome(
    mark="substitute", data="drawn | faces", model="none", findings=("It holds.",),
    rows=(Row(label="a", metric="ssim_e", paper=0.03, ours=0.01, n=3, low=0.0, high=0.02),
          Row(label="a", metric="rate (%), one picture", ours=1.0)),
)  # fmt: skip
CALLS: list[str] = []


def works(context: Context) -> Outcome:
    CALLS.append("works")
    assert context.remember("some/figure", {"steps": 3}, lambda: [1, 2]) == [1, 2]
    return MEASURED


def breaks(context: Context) -> Outcome:
    raise RuntimeError("no such luck")


def lacks(context: Context) -> Outcome:
    raise NotRun("ImageNet is missing.")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tables in place of the papers': one that works, one that breaks, one without data."""
    module = "avih.reproduction.stand_in"
    monkeypatch.setitem(sys.modules, module, sys.modules[__name__])
    tables = tuple(
        Experiment(f"avih-table-{n}", "AVIH", f"Table {n}", what, f"stand_in:{what}")
        for n, what in enumerate(("works", "breaks", "lacks"), start=1)
    )
    for place in ("avih.reproduction.registry", "tasks.reproduce"):
        monkeypatch.setattr(f"{place}.EXPERIMENTS", tables)
    CALLS.clear()


def run(store: Path, **more):
    from flows.reproduce import reproduce

    return reproduce(store=str(store), profile="smoke", **more)


def test_one_table_that_fails_does_not_stop_the_others_and_what_is_done_is_kept(
    prefect_server, three, tmp_path
):
    with pytest.raises(AvihError, match=r"2 are there; failed: avih-table-2 \(RuntimeError: no such luck\)"):
        run(tmp_path)
    results = {one.experiment.name: one.outcome for one in read_results(Store(tmp_path), "smoke")}
    assert results["avih-table-1"] == MEASURED
    assert results["avih-table-2"].missing == "Not run yet in this profile."
    assert (results["avih-table-3"].mark, results["avih-table-3"].missing) == (
        "not run",
        "ImageNet is missing.",
    )
    again = run(tmp_path, tables=["avih-table-1", "avih-table-3"])
    assert [(one.name, one.made) for one in again.tables] == [("avih-table-1", False), ("avih-table-3", True)]
    assert CALLS == ["works"]
    assert run(tmp_path, tables=["avih-table-1"], again=True).tables[0].made
    assert CALLS == ["works", "works"]


def test_results_are_in_mlflow_and_on_the_page(prefect_server, three, tmp_path):
    import mlflow

    done = run(tmp_path, tables=["avih-table-1", "avih-table-3"])
    tracked = done.tables[0].run
    logged = mlflow.MlflowClient(tracking_uri=tracked.tracking_uri).get_run(tracked.run_id)
    assert logged.data.metrics["row00_ssim_e"] == 0.01 and logged.data.metrics["row00_ssim_e_paper"] == 0.03
    assert logged.data.metrics["row01_rate  one picture"] == 1.0  # without what MLflow refuses
    assert (logged.data.tags["mark"], logged.data.tags["table"]) == ("substitute", "avih-table-1")
    results = read_results(Store(tmp_path), "smoke")
    page = tmp_path / "docs" / "reproduction.md"
    write_report(results, profile="smoke", path=page)
    text = page.read_text()
    assert "| a | 0.030 | 0.010 (0.000 to 0.020) | 1.000 | 3 |" in text
    assert "**not run**: ImageNet is missing." in text and "- It holds." in text
    picture = page.parent / "pictures" / "reproduction" / "avih-table-1.png"
    assert picture.read_bytes()[:4] == b"\x89PNG" and f"pictures/reproduction/{picture.name}" in text
    tables = json.loads(json.dumps(as_json(results)))["tables"]
    assert [(one["paper"], one["table"], one["mark"]) for one in tables] == [
        ("AVIH", "Table 1", "substitute"), ("AVIH", "Table 2", "not run"), ("AVIH", "Table 3", "not run")
    ]  # fmt: skip
    assert tables[0]["rows"][0]["ours"] == 0.01


def test_every_table_that_the_papers_have_is_listed_once_and_its_code_exists():
    import importlib

    wanted = {"AVIH": (range(1, 10), (5, 6, 7, 8, 10, 11, 12, 13)), "Veils": (range(1, 4), (4, 6, 7, 8)),
              "Veil Privacy": (range(2, 8), ())}  # fmt: skip
    tables = [(paper, f"Table {n}") for paper, (numbers, _) in wanted.items() for n in numbers]
    figures = [(paper, f"Figure {n}") for paper, (_, numbers) in wanted.items() for n in numbers]
    assert sorted((one.paper, one.table) for one in EXPERIMENTS) == sorted(tables + figures)
    for one in EXPERIMENTS:
        module, _, function = one.place.partition(":")
        assert callable(getattr(importlib.import_module(f"avih.reproduction.{module}"), function))


def test_an_unknown_table_and_a_damaged_result_are_told_by_name(tmp_path):
    with pytest.raises(UsageError, match="got avih-table-99"):
        registry.chosen(("avih-table-1", "avih-table-99"))
    folder = tmp_path / "reproduction" / "cpu" / "results"
    folder.mkdir(parents=True)
    (folder / "avih-table-1.json").write_text('{"outcome": {"mark": "perfect"}}')
    with pytest.raises(AvihError, match=r"avih-table-1\.json"):
        read_results(Store(tmp_path), "cpu")


def test_data_that_was_not_given_stays_none_and_paths_become_folders():
    folders = Data(lfw="/somewhere/lfw", lfw_name="LFW").folders()
    assert (folders.lfw, folders.orl, folders.lfw_name) == (Path("/somewhere/lfw"), None, "LFW")
