"""``python -m benchmarks.fuzz PARSER --seconds 60``: fuzz one parser of ours, or ``all``, guided by coverage.

Needs the extra ``fuzz`` (atheris); each parser runs in a process of its own, which a hang or a crash ends. A line
of JSON per parser says how many inputs were tried; what an input broke is in ``--out``.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST_BYTES = 65_536
HANGS_AFTER = 20  # seconds for one input
MEMORY_MIB = 3000


def main() -> None:
    options = _arguments()
    if options.child:
        _fuzz(options.parser, options.seconds, Path(options.out))
        return
    from benchmarks.fuzz.parsers import PARSERS

    if options.parser == "list":
        print("\n".join(PARSERS))
        return
    chosen = list(PARSERS) if options.parser == "all" else [options.parser]
    if unknown := [name for name in chosen if name not in PARSERS]:
        sys.exit(f"Expected a parser of {', '.join(PARSERS)}, or all, got {unknown[0]!r}.")
    found = [_in_process(name, options.seconds, Path(options.out)) for name in chosen]
    sys.exit(any(one["broke"] for one in found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("parser", help="Name of a parser, all, or list.")
    parser.add_argument("--seconds", type=int, default=30, help="For each parser.")
    parser.add_argument("--out", default=str(Path(tempfile.gettempdir(), "avih-fuzz-found")), help="Folder.")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_process(name: str, seconds: int, out: Path) -> dict[str, Any]:
    """Fuzz one parser in a process of its own and print what came of it."""
    out.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz",
        name,
        "--child",
        "--seconds",
        str(seconds),
        "--out",
        str(out),
    ]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE) + re.findall(r"Done (\d+) runs", done.stderr)
    fault = re.search(r"=== Uncaught Python exception: ===\n(.*)", done.stderr)
    told: dict[str, Any] = {
        "parser": name,
        "runs": max(map(int, runs), default=0),
        "seconds": round(time.monotonic() - began),
        "broke": done.returncode != 0,
    }
    if told["broke"]:
        told["fault"] = fault[1] if fault else done.stderr[-400:]
        (out / f"{name.replace(' ', '_').replace(chr(39), '')}.txt").write_text(done.stderr)
    print(json.dumps(told), flush=True)
    return told


def _fuzz(name: str, seconds: int, out: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["avih", "tasks"]):
        from benchmarks.fuzz.parsers import PARSERS
    from benchmarks.fuzz.mutations import mutate
    from benchmarks.fuzz.parser import check

    parser = PARSERS[name]

    def changed(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        new = mutate(data, chance) if chance.random() < 0.5 else atheris.Mutate(data, most)
        return bytes(new[:most])

    with tempfile.TemporaryDirectory() as corpus:
        for number, example in enumerate(parser.examples()):
            Path(corpus, str(number)).write_bytes(example)
        limits = (f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={HANGS_AFTER}")
        places = (f"-artifact_prefix={out}/{name.replace(' ', '_')}-", corpus)
        atheris.Setup(
            [sys.argv[0], *limits, f"-rss_limit_mb={MEMORY_MIB}", *places],
            lambda data: check(parser, data),
            custom_mutator=changed,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
