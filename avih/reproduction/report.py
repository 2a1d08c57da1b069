"""docs/reproduction.md: every table and figure of the papers, the paper's value beside ours, in one page."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avih.atomic import write_bytes
from avih.reproduction.context import Profile
from avih.reproduction.outcome import Outcome, Row
from avih.reproduction.registry import Experiment

LONG = 40  # characters of a cell that is better read below its table

HEAD = """# The papers' tables, beside ours

This page is written by `avih reproduce --profile {profile} --report docs/reproduction.md`; change the experiments
in `avih/reproduction/`, not this page. Each table shows the paper's figure, ours with a 95 % interval, and of how
many photos or trials (n) ours is. Intervals: persons are drawn with replacement (cluster bootstrap), or Wilson's
interval for trials. Everything is measured on stored 8-bit pictures.

Marks: **reproduced** (the paper's data and model), **substitute** (other data or another model, named), **not
run** (what is missing is said). {counts}.

| table | what | mark |
|---|---|---|
"""


@dataclass(frozen=True)
class Reported:
    """One experiment with its result; ``figure`` is the file of its drawing, if there is one."""

    experiment: Experiment
    outcome: Outcome
    seconds: float
    figure: Path | None

    @property
    def anchor(self) -> str:
        """Name of its place on the page."""
        return self.experiment.name


def as_json(results: Sequence[Reported]) -> dict[str, Any]:
    """Return what ``avih reproduce --json`` prints: every table of the papers, run or not."""
    return {
        "tables": [
            {
                "name": one.experiment.name,
                "paper": one.experiment.paper,
                "table": one.experiment.table,
                "title": one.experiment.title,
                **one.outcome.model_dump(mode="json", exclude={"figure"}),
                "seconds": one.seconds,
                "figure": str(one.figure) if one.figure else None,
            }
            for one in results
        ]
    }


def write_report(results: Sequence[Reported], *, profile: Profile, path: Path) -> None:
    """Write the page, and its figures into ``pictures/reproduction`` beside it.

    Args:
        results: all experiments, in the order of the page.
        profile: whose results they are.
        path: the Markdown file.
    """
    marks = Counter(one.outcome.mark for one in results)
    counts = ", ".join(f"{count} {mark}" for mark, count in sorted(marks.items())).capitalize()
    text = HEAD.format(profile=profile, counts=f"{counts} in profile `{profile}`")
    for one in results:
        name = f"{one.experiment.paper}, {one.experiment.table}"
        text += f"| [{name}](#{one.anchor}) | {one.experiment.title} | {one.outcome.mark} |\n"
    pictures = path.parent / "pictures" / "reproduction"
    for one in results:
        text += "\n" + _section(one, pictures)
    write_bytes(path, text.encode())


def _section(one: Reported, pictures: Path) -> str:
    found = one.outcome
    lines = [
        f'<a id="{one.anchor}"></a>',
        f"## {one.experiment.paper}, {one.experiment.table}: {one.experiment.title}",
        "",
        f"**{found.mark}**" + (f": {found.missing}" if found.missing else ""),
        "",
    ]
    if found.mark != "not run":
        lines += [f"Data: {found.data}. Model: {found.model}.", ""]
        if found.setting:
            lines += [f"How: {found.setting.strip()}", ""]
    lines += markdown_table(found.rows)
    lines += [f"- {finding}" for finding in found.findings]
    for name in _copied(one, pictures):
        lines += ["", f"![{one.experiment.paper} {one.experiment.table}](pictures/reproduction/{name})"]
    return "\n".join(lines).rstrip() + "\n"


def _copied(one: Reported, pictures: Path) -> list[str]:
    """Copy a table's figures beside the page and return their names."""
    files = [one.figure] if one.figure else []
    if one.outcome.figure and one.figure:
        files.append(one.figure.parent / one.outcome.figure)
    names = []
    for file in files:
        if file.is_file():
            pictures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, pictures / file.name)
            names.append(file.name)
    return names


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lay rows out as a Markdown table: one line per label, data and model, and columns per metric.

    A cell is ours with its interval, the paper's figure stands to its left; a column that would be empty is left
    out. Where n differs between the metrics of a line, its smallest is shown.
    """
    if not rows:
        return []
    lines: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row.label, row.data, row.model), {})[row.metric] = row
    columns: dict[str, list[str]] = {"row": [_cell(label) for label, _, _ in lines]}
    for metric in dict.fromkeys(row.metric for row in rows):
        found = [line.get(metric) for line in lines.values()]
        columns[f"{metric}, paper"] = [figure_text(row.paper) if row else "" for row in found]
        columns[metric] = [_measured(row) if row else "" for row in found]
    columns["n"] = [_smallest_n(line.values()) for line in lines.values()]
    columns["data"], data = _shortened("data", [_cell(data) for _, data, _ in lines])
    columns["model"], model = _shortened("model", [_cell(model) for _, _, model in lines])
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    head = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    body = ["| " + " | ".join(cells) + " |" for cells in zip(*shown.values(), strict=True)]
    return [*head, *body, "", *data, *model]


def _shortened(name: str, cells: list[str]) -> tuple[list[str], list[str]]:
    """Replace one long text that several cells share by a mark, explained in a line below the table."""
    texts = {cell for cell in cells if cell}
    if len(texts) != 1 or len(*texts) < LONG:
        return cells, []
    (text,) = texts
    return [f"other {name}" if cell else "" for cell in cells], [f"Other {name}: {text}.", ""]


def _measured(row: Row) -> str:
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f" ({figure_text(row.low)} to {figure_text(row.high)})"
    return figure_text(row.ours) + interval


def _smallest_n(rows: Iterable[Row]) -> str:
    counts = [row.n for row in rows if row.n is not None]
    return f"{min(counts):,}" if counts else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def figure_text(value: float | None) -> str:
    """Write a figure with the digits that mean something: 0.028, 0.9982, 96.5, 1,250."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 10:
        return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}"
    return f"{value:.4f}" if 0.99 <= size < 1 else f"{value:.3f}"  # cosines differ in the fourth digit
