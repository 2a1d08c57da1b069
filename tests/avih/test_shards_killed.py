"""A writer that is killed at any of its steps leaves nothing half, and the next run repairs it."""

import subprocess
import sys
from pathlib import Path

import pytest

import small_shards
from avih import atomic
from avih.errors import IntegrityError
from avih.naming import Store
from avih.shards import (
    read_done,
    read_rows,
    verify_shard,
)
from small_shards import ADDRESS, Settings, contents, write

KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import webdataset
from avih.shards import writing
import small_shards as t

calls, last = 0, 0

def fatal(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

# Every step that changes the disk is the last one once.
writing._Hashing.write = fatal(writing._Hashing.write)
for owner, names in ((os, ("open", "fsync", "fchmod")), (Path, ("write_bytes", "replace", "unlink"))):
    for name in names:
        setattr(owner, name, fatal(getattr(owner, name)))
for case in ("alone", "over"):
    last, status = 0, -1
    while status != 0:
        last += 1
        folder = Path(sys.argv[1]) / case / str(last)
        if case == "over":
            shutil.copytree(sys.argv[2], folder)
        process = os.fork()
        if process == 0:
            t.write(t.Store(folder), settings=t.Settings(template="new"))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status not in (0, -signal.SIGKILL):
            sys.exit(status)
"""

KILL_POINTS = 24  # fewer would mean that the writer has steps this test does not see


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run writers that are killed at their first, second, ... step; alone, and over an older shard."""
    folder, older = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("older")
    write(Store(older))
    paths = [str(Path(atomic.__file__).parents[1]), str(Path(small_shards.__file__).parent)]
    program = [sys.executable, "-c", KILLER.format(paths=paths), str(folder), str(older)]
    subprocess.run(program, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("case", ["alone", "over"])
def test_a_killed_writer_leaves_nothing_half_and_the_next_run_repairs_it(
    killed: Path, case: str, tmp_path: Path
) -> None:
    new = Store(tmp_path / "new")
    write(new, settings=Settings(template="new"))
    states = []
    stores = [Store(path) for path in sorted((killed / case).iterdir(), key=lambda path: int(path.name))]
    assert len(stores) > KILL_POINTS
    for store in stores:
        record = read_done(store, ADDRESS)
        states.append(str(record and record.settings["template"]))
        if record:
            assert verify_shard(store, ADDRESS) == []
        else:
            with pytest.raises(IntegrityError):
                read_rows(store, ADDRESS)
        write(store, settings=Settings(template="new"))
        assert contents(store) == contents(new)
        assert partial(store) == []
    # In the order of the steps: first what was there, then nothing, then the new shard; never back.
    order = ["112x96", "None", "new"]
    assert states == sorted(states, key=order.index)
    assert set(states) == (set(order) if case == "over" else {"None", "new"})


def partial(store: Store) -> list[Path]:
    return sorted(store.root.rglob("*.part"))
