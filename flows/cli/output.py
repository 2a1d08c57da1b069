"""What the command line shows: progress bars and tables on standard error, one JSON object on standard output."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from avih.disk_errors import told
from avih.errors import AvihError

UNITS = {"download": "MiB", "key": "steps", "veil": "steps", "audit": "attacks"}
FAILED, USAGE = 1, 2
STARTUP = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
SEE_WHERE = "This is a fault of avih; run with --debug to see where."

PLAIN_WIDTH = 10_000  # of what is no terminal: a line stays whole there, however long it is


def console(*, stderr: bool = False) -> Console:
    """Return a console for people: no colours with ``NO_COLOR``, and neither colours nor an edge in a pipe."""
    plain = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    shown = Console(stderr=stderr, highlight=False, soft_wrap=stderr, **plain)  # type: ignore[arg-type]
    if not shown.is_terminal:
        shown.width = PLAIN_WIDTH
    return shown


err = console(stderr=True)


class SpeedColumn(ProgressColumn):
    """Images (or training steps) per second."""

    def render(self, task: Task) -> Text:
        """Return ``0.52 images/s``."""
        speed = task.finished_speed or task.speed
        unit = UNITS.get(str(task.fields.get("stage")), "images")
        return Text("-" if speed is None else f"{speed:.2f} {unit}/s")


class Bars:
    """One progress bar per stage; hears of work through ``tasks.progress``."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, Any] = {}

    def begin(self, stage: str, total: int) -> None:
        """Show a bar for a stage."""
        self.bars[stage] = self.progress.add_task(stage, total=total, stage=stage)

    def advance(self, stage: str, done: int) -> None:
        """Move a bar on."""
        if stage in self.bars:
            self.progress.advance(self.bars[stage], done)


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show progress on standard error while the block runs; plain lines are left out when it is no terminal."""
    from tasks.progress import listening

    columns = (
        TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), SpeedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress, listening(Bars(progress)):
        yield


@contextmanager
def explained(debug: bool) -> Iterator[None]:
    """Turn errors into one readable message and the documented exit code; ``debug`` shows the traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except AvihError as error:
        _leave(error, str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        err.print("Stopped. What is finished stays; run the same command again to go on.")
        raise typer.Exit(130) from None
    except OSError as error:
        _leave(error, told(error), FAILED, debug)
    except RuntimeError as error:
        _leave(error, _unexpected(error), FAILED, debug)
    except Exception as error:
        unreachable = type(error).__module__.startswith("httpx")
        _leave(error, _unreachable(error) if unreachable else _fault(error), FAILED, debug)


def _unexpected(error: RuntimeError) -> str:
    """Say what to do where that is known."""
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for this
        return (
            f"Expected room for one image in the device's memory, got: {error} Stop what else uses it, or "
            "set AVIH_DEVICE=cpu, and run the same command again: what is finished stays."
        )
    if "ephemeral Prefect API server" in str(error):
        return (
            f"Expected Prefect's temporary server to start within {os.environ.get(STARTUP)} seconds, and it did "
            f"not. Run the same command again when the machine has less to do, give it longer ({STARTUP}=300), "
            "or keep a server running (avih server): what is finished stays."
        )
    return f"{type(error).__name__}: {error} {SEE_WHERE}"


def _fault(error: Exception) -> str:
    """Name what nobody foresaw by its type alone: what it says was written for nobody, and may tell anything."""
    return f"{type(error).__name__}. {SEE_WHERE}"


def _unreachable(error: Exception) -> str:
    """Prefect's client gave up: its server is gone."""
    server = os.environ.get("PREFECT_API_URL", "of this command")
    return (
        f"Expected the Prefect server {server} to answer, got: {error}. Start it again (avih server), or unset "
        "PREFECT_API_URL to do without, and run the same command again: what is finished stays."
    )


def _leave(error: Exception, message: str, code: int, debug: bool) -> NoReturn:
    if debug:
        raise error
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(values: Mapping[str, Any]) -> None:
    """Write one JSON object to standard output."""
    sys.stdout.write(json.dumps(values, indent=2, sort_keys=False, default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def clean_stdout() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Send everything that libraries print to standard error, so that only our object reaches standard output."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    kept: list[Mapping[str, Any]] = []
    try:
        yield kept.append
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
        for values in kept:
            print_json(values)


def table(title: str, rows: Mapping[str, object]) -> None:
    """Print a small two-column table on standard output."""
    shown_on, shown = console(), Table(show_header=False)
    for name, value in rows.items():
        shown.add_row(name, str(value))
    shown_on.print(title, style="italic", soft_wrap=True)  # as a title it would be cut to the table's width
    shown_on.print(shown)
