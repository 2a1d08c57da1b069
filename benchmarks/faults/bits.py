"""One flipped bit anywhere: ``avih verify`` names the file, exit code 3, and the rest stays usable."""

import json
from pathlib import Path
from random import Random
from typing import Final

from avih.manifest import MANIFEST_FILE
from benchmarks.faults import works
from benchmarks.faults.bench import RUN, Bench
from benchmarks.faults.fault import Attempt, Fault, require
from benchmarks.faults.gallery import Gallery

DAMAGED: Final = 3
KINDS: Final = {
    "shard tar": ("4_protected", "*.tar"),
    "shard parquet": ("4_protected", "*.parquet"),
    "done file": ("4_protected", "*.done.json"),
    "sealed originals": ("2_aligned", "*.tar"),
    "manifest": ("4_protected", MANIFEST_FILE),
    "key": ("3_keys", "[0-9a-f]*.key"),
    "current": ("4_protected", "current.json"),
}


def flipping(folder: str, pattern: str) -> Attempt:
    """Return one attempt: flip, verify, use what is left."""

    def attempt(bench: Bench, draw: Random) -> str:
        bench.undisturbed("run", "begun", works.run_all, *RUN)
        gallery = bench.gallery("live")
        root = Path(gallery.address)
        path = draw.choice(sorted((root / folder).rglob(pattern)))
        bit = draw.randrange(8 * path.stat().st_size)
        data = bytearray(path.read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        place, at = str(path.relative_to(root)), f"bit {bit} of {path.name}"
        verified = bench.command(gallery, "verify", "--json").require_code(DAMAGED, what=f"verify, {at}")
        named = {problem["where"] for problem in json.loads(verified.said)["problems"]}
        require(place in named, f"{at}: verify names {sorted(named)}, not {place}")
        _rest_recovers(bench, gallery, path, at)
        return "named, exit code 3"

    return attempt


def _rest_recovers(bench: Bench, gallery: Gallery, path: Path, at: str) -> None:
    """Recover every image of every other shard; a key that is damaged must be refused instead."""
    if path.suffix == ".key":
        ended = bench.command(gallery, "recover", "--version", "v0001", "--out", str(gallery.root / "out"))
        ended.require_code(DAMAGED, what=f"recover, {at}")
        return
    number = path.name.partition(".")[0]
    damaged = int(number) if number.isdecimal() and "4_protected" in path.parts else None
    wanted = gallery.images(without_shard=damaged)
    out = gallery.root / "out"
    # By its name: which version is current is what a damaged current.json does not say any more.
    words = ["--version", "v0001", "--out", str(out)]
    words += [word for image in wanted for word in ("--image", image)]
    bench.command(gallery, "recover", *words).require_code(0, what=f"recover, {at}")
    got = {found.stem for found in out.glob("*.png")}
    require(got == set(wanted), f"{at}: of {len(wanted)} untouched images {len(got)} came back")


FAULTS: Final = tuple(
    Fault(f"flipped bit: {kind}", "avih verify names it, the rest recovers", flipping(*where), full=15)
    for kind, where in KINDS.items()
)
