"""Rows, intervals and what an experiment remembers."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from avih.errors import UsageError
from avih.evaluation.bootstrap import bootstrap_interval
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.figures import draw
from avih.reproduction.outcome import NotRun, Outcome, Row, mean_row, not_run, rate_row
from avih.reproduction.report import figure_text, markdown_table


def context(tmp_path, **more) -> Context:
    return Context(profile="smoke", data=DataFolders(**more), work=tmp_path)


@pytest.mark.parametrize(("hits", "tries"), [(32, 33), (0, 5), (7, 7), (1, 1), (240, 1000)])
def test_a_rate_has_wilsons_interval(hits, tries):
    row = rate_row(label="a", metric="accuracy", hits=hits, tries=tries)
    theirs = binomtest(hits, tries).proportion_ci(method="wilson")
    assert row.ours == pytest.approx(100 * hits / tries)
    assert (row.low, row.high) == (pytest.approx(100 * theirs.low), pytest.approx(100 * theirs.high))


@pytest.mark.parametrize(("hits", "tries"), [(2, 1), (-1, 4), (0, 0)])
def test_a_rate_of_nothing_is_refused(hits, tries):
    with pytest.raises(UsageError, match="hits out of"):
        rate_row(label="a", metric="accuracy", hits=hits, tries=tries)


def test_a_mean_draws_whole_persons_and_one_person_has_no_interval():
    values, persons = [0.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"]
    row = mean_row(label="x", metric="acc", values=values, persons=persons, percent=True)
    low, high = bootstrap_interval([0, 0, 100, 100], persons)
    assert (row.ours, row.low, row.high, row.n) == (50.0, low, high, 4)
    alone = mean_row(label="x", metric="acc", values=[1.0, 0.5], persons=["a", "a"])
    assert (alone.ours, alone.low, alone.high) == (0.75, None, None)
    with pytest.raises(UsageError, match="got none"):
        mean_row(label="x", metric="acc", values=[], persons=[])


def test_what_was_measured_is_remembered_until_its_settings_change(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"ssim": np.float64(0.5).item(), "n": len(calls)}

    first = context(tmp_path).remember("table/person", {"steps": 3}, measure)
    assert context(tmp_path).remember("table/person", {"steps": 3}, measure) == first
    assert context(tmp_path).remember("table/person", {"steps": 4}, measure)["n"] == 2
    kept = json.loads((tmp_path / "measured" / "table" / "person.json").read_text())
    assert kept["settings"] == {"steps": 4}


def test_a_measurement_that_fails_is_not_remembered(tmp_path):
    with pytest.raises(ZeroDivisionError):
        context(tmp_path).remember("a", {}, lambda: 1 / 0)
    assert context(tmp_path).remember("a", {}, lambda: 7) == 7


def test_missing_data_says_what_is_missing(tmp_path):
    with pytest.raises(NotRun, match="ORL is missing"):
        context(tmp_path).need(None, "ORL")
    with pytest.raises(NotRun, match="ORL is missing"):
        context(tmp_path).need(tmp_path / "nothing", "ORL")
    assert context(tmp_path).need(tmp_path, "ORL") == tmp_path


def test_a_figure_is_drawn_of_rows_and_not_of_nothing(tmp_path):
    rows = [
        Row(label=f"row {n}", metric="ssim_e", paper=0.03, ours=0.01 * n, low=0.0, high=0.1) for n in range(3)
    ]
    found = Outcome(mark="substitute", rows=tuple(rows), data="drawn", model="none")
    assert draw(found, title="A table", path=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert not draw(not_run("Data is missing.", rows=rows), title="B", path=tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_a_table_leaves_out_empty_columns_and_keeps_bars_inside_cells():
    lines = markdown_table([Row(label="a|b", metric="ssim_e", ours=0.0123, n=1250)])
    assert lines[0] == "| row | ssim_e | n |"
    assert lines[2] == "| a\\|b | 0.012 | 1,250 |"
    assert [figure_text(value) for value in (None, 0.9982, 96.52, 1250.0, -0.02)] == [
        "", "0.9982", "96.5", "1,250", "-0.020"
    ]  # fmt: skip


def test_metrics_of_one_label_share_a_line_beside_the_papers_figures():
    rows = [
        Row(label="ours", metric="ssim_e", paper=0.03, ours=0.01, low=0.0, high=0.02, n=40),
        Row(label="ours", metric="cos", ours=0.99, n=30),
        Row(label="theirs", metric="cos", paper=0.95),
    ]
    assert markdown_table(rows) == [
        "| row | ssim_e, paper | ssim_e | cos, paper | cos | n |",
        "|---|---|---|---|---|---|",
        "| ours | 0.030 | 0.010 (0.000 to 0.020) |  | 0.9900 | 30 |",
        "| theirs |  |  | 0.950 |  |  |",
        "",
    ]


def test_a_long_model_that_several_lines_share_is_told_once_below_the_table():
    name = "a network that was trained for this table, and its training data"
    rows = [Row(label=label, metric="cos", ours=0.5, model=name) for label in ("a", "b")]
    lines = markdown_table([*rows, Row(label="c", metric="cos", ours=0.25)])
    assert lines[2:] == [
        "| a | 0.500 | other model |", "| b | 0.500 | other model |", "| c | 0.250 |  |", "",
        f"Other model: {name}.", "",
    ]  # fmt: skip
