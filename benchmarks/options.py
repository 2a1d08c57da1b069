"""What a run of ``benchmarks.protect`` may be asked for: settings that are printed with its figures."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from avih.errors import UsageError
from avih.settings import Count, Frozen
from benchmarks.quality import TOLERANCE

HERE = Path(__file__).parent
LFW_GRAY = Path("../shared/data/lfw-gray")
WEIGHTS = Path("../shared/models/mobilefacenet_arcface.safetensors")


def default_source() -> str:
    """Return LFW-gray where it lies beside the project, or else the drawn faces."""
    return str(LFW_GRAY) if LFW_GRAY.is_dir() else "synthetic"


def default_recogniser() -> str:
    """Return MobileFaceNet where its weights lie beside the project, or else the recogniser of drawn faces."""
    return "mobilefacenet" if WEIGHTS.is_file() else "synthetic"


class Options(Frozen):
    """The options of the command line, one each."""

    images: Count = Field(4, description="Images per repeat.")
    repeats: Count = Field(3, description="Repeats, each with other images.")
    source: str = Field(
        default_factory=default_source, description="Folder of photos, or the word synthetic."
    )
    recogniser: str = Field(default_factory=default_recogniser, description="Card of the service model.")
    weights: Path | None = Field(None, description="Its weights file.")
    generator: Path | None = Field(None, description="Key to use: a generator's safetensors file.")
    wrong_generator: Path | None = Field(None, description="Wrong key to use, likewise.")
    keyed_generator: Path | None = Field(None, description="Codec generator of the keyed recovery, likewise.")
    key_steps: Count = Field(2000, description="Training steps of the papers' key, where none is given.")
    wrong_key_steps: Count = Field(300, description="Training steps of the wrong key, where none is given.")
    baseline_steps: Count = Field(800, description="Steps of the authors' loop and of the paper preset.")
    our_steps: Count | None = Field(None, description="Most steps of the other presets; none: their own.")
    baseline_batch: Count | None = Field(
        None, description="Batch size of the authors' loop; none: the fastest."
    )
    tolerance: float = Field(
        TOLERANCE, ge=0, description="How much higher SSIM_e and wrong-key SSIM_d may be and still count."
    )
    device: str = Field("cpu", description="Where networks run: cpu or cuda.")
    threads: Count | None = Field(None, description="Threads of torch; none: its own choice.")
    cache: Path = Field(HERE / "cache", description="Folder of trained generators.")
    out: Path = Field(HERE / "out", description="Folder of the JSON file and the plot.")

    @property
    def weights_file(self) -> Path | None:
        """The weights file that was given, or the one beside the project for MobileFaceNet."""
        beside = WEIGHTS if self.recogniser == "mobilefacenet" and WEIGHTS.is_file() else None
        return self.weights or beside

    @classmethod
    def parse(cls, arguments: Sequence[str] | None) -> tuple[Self, bool]:
        """Read the command line; the second value says whether only JSON is wanted.

        Raises:
            UsageError: a value is out of its range or of another type.
        """
        parser = argparse.ArgumentParser(
            prog="python -m benchmarks.protect",
            description="The authors' loop and our presets side by side: seconds per image to equal quality.",
        )
        parser.add_argument("--json", action="store_true", help="Print only JSON.")
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True)
            shown = "" if default is None else f" Default: {default}."
            parser.add_argument(
                f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=f"{field.description}{shown}"
            )
        given = vars(parser.parse_args(arguments))
        as_json = given.pop("json")
        try:
            return cls.model_validate(given), as_json
        except ValidationError as error:
            faults = "; ".join(f"--{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
            raise UsageError(f"The options cannot be used: {faults}.") from None

    def public(self) -> dict[str, Any]:
        """Return what changes the figures; of folders and files, only their last name."""
        values = self.model_dump(mode="json", exclude={"cache", "out"})
        paths = ("source", "weights", "generator", "wrong_generator", "keyed_generator")
        return {
            name: Path(value).name if name in paths and value else value for name, value in values.items()
        }
