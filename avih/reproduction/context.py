"""What every experiment is given: sizes by profile, data, and a folder that remembers what was measured."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from avih.atomic import write_json
from avih.reproduction.outcome import NotRun

Profile = Literal["smoke", "cpu", "full"]
PROFILES: tuple[Profile, ...] = ("smoke", "cpu", "full")
_Choice = TypeVar("_Choice")


@dataclass(frozen=True)
class DataFolders:
    """Where real data lies; what is None is replaced by drawn data, and named so, or the table is not run.

    Attributes:
        lfw: folder in LFW's layout.
        lfw_name: what the tables call it: ``LFW-gray`` for the gray-scale substitute.
        orl: folder in ORL's layout.
        mobilefacenet: weights of the service recogniser.
        celeba, coco, cifar10, imagenet: what the papers used besides; nothing ships or downloads them.
    """

    lfw: Path | None = None
    lfw_name: str = "LFW-gray"
    orl: Path | None = None
    mobilefacenet: Path | None = None
    celeba: Path | None = None
    coco: Path | None = None
    cifar10: Path | None = None
    imagenet: Path | None = None


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Context:
    """An experiment's surroundings.

    Args:
        profile: smoke (minutes, drawn data, in CI), cpu (hours on two cores), full (GPU).
        data: where data lies.
        work: folder of this profile: figures measured so far, protected pictures, networks. Never an original.
        tell: called with a line for people while it runs.
        device: where networks run.
    """

    profile: Profile
    data: DataFolders
    work: Path
    tell: Callable[[str], None] = field(default=_silent, compare=False)  # who listens changes no result
    device: str = "cpu"

    def size(self, *, smoke: _Choice, cpu: _Choice, full: _Choice) -> _Choice:
        """Choose by profile."""
        return {"smoke": smoke, "cpu": cpu, "full": full}[self.profile]

    def folder(self, *parts: str) -> Path:
        """Return a folder below ``work``, made if it is not there, for its owner alone."""
        path = self.work.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def remember(self, name: str, settings: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """Return what ``compute`` gave before under this name and these settings, or compute and keep it.

        This is what makes a long table resumable: call it once per person, network or step count.

        Args:
            name: path-like, unique in the profile: ``veils/person_veil/Tony_Blair``.
            settings: everything the result depends on, as plain JSON values; when it changes, so does the result.
            compute: gives plain JSON values: figures, no pixels.
        """
        path = self.work / "measured" / f"{name}.json"
        wanted = json.loads(json.dumps(dict(settings), sort_keys=True))
        if path.is_file():
            kept = json.loads(path.read_text())
            if kept["settings"] == wanted:
                return kept["result"]
        result = json.loads(json.dumps(compute()))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"settings": wanted, "result": result})
        return result

    def need(self, path: Path | None, what: str) -> Path:
        """Return a folder or file that an experiment cannot do without.

        Raises:
            NotRun: it was not given, or is not there.
        """
        if path is None or not path.exists():
            raise NotRun(f"{what} is missing.")
        return path
