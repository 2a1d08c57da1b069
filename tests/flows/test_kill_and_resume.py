"""SIGKILL in the middle of a shard: nothing half-made is visible, and the rerun gives the same bytes."""

import os
import signal
import subprocess
import sys

import pytest

from avih.naming import ShardAddress, Store
from avih.shards import read_done

PROTECT_ONE = """
import sys
from pathlib import Path
from avih.settings import ProtectSettings
from tasks.progress import listening
from tasks.protect_shard import protect_shard
from tasks.records import Place, RecogniserChoice

class Tell:
    def begin(self, stage, total): pass
    def advance(self, stage, done): print("image", flush=True)

recogniser = RecogniserChoice(card="synthetic")
place = Place(store=sys.argv[1], gallery="people", version="v0001", recogniser=recogniser)
with listening(Tell()):
    settings = ProtectSettings(batch_size=int(sys.argv[3]))
    protect_shard(place=place, key_id=sys.argv[2], number=0, settings=settings)
"""


def remove_shard(made, ending: str = "*") -> None:
    for path in made.protected.glob(f"00000.{ending}"):
        path.unlink()


@pytest.mark.parametrize("images_before_the_kill", [1, 4])
def test_a_killed_shard_does_not_exist_and_comes_back_whole(copy, images_before_the_kill):
    before = copy.files()
    remove_shard(copy)
    # Batches of one tell after each image; the settings differ, but this process never finishes.
    process = subprocess.Popen(
        [sys.executable, "-c", PROTECT_ONE, str(copy.store), copy.result.key_id, "1"],
        stdout=subprocess.PIPE, env=os.environ, text=True,
    )  # fmt: skip
    for _ in range(images_before_the_kill):
        assert process.stdout.readline() == "image\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    address = ShardAddress("protected", "people", "v0001", 0, copy.result.key_id)
    assert read_done(Store(copy.store), address) is None
    again = copy.run()
    assert again.shards_made == 1
    after = copy.files()
    assert {k: v for k, v in after.items() if "timing" not in k} == {
        k: v for k, v in before.items() if "timing" not in k
    }
    assert not [name for name in after if name.endswith(".part")]
