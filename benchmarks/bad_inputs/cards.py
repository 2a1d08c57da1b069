"""Bad cards of recognisers and of data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from avih.datasets.cards import load_card
from avih.recognisers import load_recogniser
from avih.recognisers.card import CARDS_FOLDER
from benchmarks.bad_inputs.kind import BadInput, Said

CARD: Final = (CARDS_FOLDER / "synthetic.toml").read_text(encoding="utf-8")
NEST: Final = 100_000

# Name -> what replaces what in the card of the recogniser that comes with the package.
CARDS: Final[dict[str, tuple[str, str, str]]] = {
    "colours swapped": ('colour_order = "RGB"', 'colour_order = "BGR"', "IntegrityError"),
    "another range": ("std = 127.5", "std = 1.0", "IntegrityError"),
    "range of 0": ("std = 127.5", "std = 0.0", "UsageError"),
    "range that is NaN": ("std = 127.5", "std = nan", "UsageError"),
    "a word for a number": ("input_width = 96", 'input_width = "96"', "UsageError"),
    "a number below 0": ("feature_size = 128", "feature_size = -128", "UsageError"),
    "a huge number": ("input_height = 112", f"input_height = {10**30}", "UsageError"),
    "an unknown field": ('licence = "MIT', 'password = "x"\nlicence = "MIT', "UsageError"),
    "a field twice": ("mean = 127.5", "mean = 127.5\nmean = 127.5", "UsageError"),
    "a field missing": ("mean = 127.5\n", "", "UsageError"),
    "an unknown network": ('architecture = "small_facenet"', 'architecture = "os:system"', "UsageError"),
    "a name with a path": ('name = "synthetic"', 'name = "../../synthetic"', "UsageError"),
    "another digest": ('sha256 = "98371fc5', 'sha256 = "00000000', "IntegrityError"),
    "a digest of another length": ('sha256 = "98371fc5', 'sha256 = "', "UsageError"),
    "weights that are not there": ('weights = "WEIGHTS"', 'weights = "../../gone.safetensors"', "UsageError"),
    "weights that are a folder": ('weights = "WEIGHTS"', 'weights = "."', "UsageError"),
    "an address of another kind": (
        'weights = "WEIGHTS"',
        'address = "http://127.0.0.1:9/x.pth"',
        "UsageError",
    ),
    "a probe that is too short": (
        "expected = [0.077311, -0.005927, -0.065651,",
        "expected = [",
        "IntegrityError",
    ),
    "a probe of other numbers": ("expected = [0.077311", "expected = [0.177311", "IntegrityError"),
    "a probe that allows all": ("tolerance = 1e-4", "tolerance = 10.0", "UsageError"),
}
TEXTS: Final[dict[str, bytes]] = {
    "no TOML": b"name = ",
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "nested without end": b"x = " + b"[" * NEST,
    "a table nested without end": b"[" + b"x." * 5000 + b"x]",
    "zeros": bytes(5000),
}
DATASET: Final = (
    b'name = "faces"\ntitle = "t"\nlayout = "lfw"\nlicence = "l"\ncitation = "c"\ncontains = "c"\nby_hand = "b"\n'
    b'[[archives]]\nkind = "tar"\naddress = "https://example.org/a"\nfile = "FILE"\nunpack_as = "faces"\n'
)


def kinds() -> list[BadInput]:
    """Return every kind of bad card."""
    found = [
        BadInput(name, "card", expected, _card(old, new), _load_card)
        for name, (old, new, expected) in CARDS.items()
    ]
    for name, text in TEXTS.items():
        found.append(BadInput(name, "card", "UsageError", _text(text), _load_card))
        found.append(BadInput(f"of a data set: {name}", "card", "UsageError", _dataset(text), _read_dataset))
    for name, file in {"a path out of the store": b"../../a.tar", "a hidden file": b".bashrc"}.items():
        text = DATASET.replace(b"FILE", file)
        found.append(BadInput(f"of a data set: {name}", "card", "UsageError", _dataset(text), _read_dataset))
    return found


def _card(old: str, new: str) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        weights = (CARDS_FOLDER.parent / "weights" / "synthetic.safetensors").read_bytes()
        (folder / "own.safetensors").write_bytes(weights)
        text = CARD.replace("../weights/synthetic.safetensors", "WEIGHTS")
        assert text.count(old) == 1, old
        (folder / "card.toml").write_text(text.replace(old, new).replace("WEIGHTS", "own.safetensors"))
        return folder / "card.toml"

    return made


def _text(text: bytes) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        (folder / "card.toml").write_bytes(text)
        return folder / "card.toml"

    return made


def _load_card(_: Path, path: Path) -> Said:
    load_recogniser(card=path)
    return "read", ""


def _dataset(text: bytes) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        (folder / "faces.toml").write_bytes(text)
        return folder

    return made


def _read_dataset(_: Path, folder: Path) -> Said:
    card: Any = load_card("faces", folder=folder)
    return "read", card.name
