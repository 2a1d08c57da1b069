"""Data-set cards: licence, citation, what a data set holds, and where to get it; one TOML file each."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

import avih
from avih.errors import DownloadFailed, UsageError

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
# One part of a path, so that a card cannot write outside the sources folder.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Archive(BaseModel):
    """One file to download."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: FileName = Field(description="Name under which the download is kept.")
    address: str = Field(pattern=r"^https?://\S+$", description="Where it is fetched from.")
    sha256: Sha256 | None = Field(default=None, description="Without it the file is not fetched.")
    size_bytes: int | None = Field(default=None, gt=0, description="Size of the download, where it is known.")
    kind: Literal["tar", "zip", "file"] = Field(description="How to unpack it; tar of any compression.")
    unpack_as: FileName = Field(description="Name of the folder (or file) that it becomes.")
    inner_folder: FileName | None = Field(
        default=None, description="Folder inside the archive that becomes unpack_as; the rest is dropped."
    )


class DatasetCard(BaseModel):
    """What is known about one data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FileName = Field(description="The data set's name, and the card's file name.")
    title: Text
    layout: Text = Field(description="Which reader reads it.")
    licence: Text
    citation: Text
    contains: Text = Field(description="What is in it.")
    by_hand: Text = Field(description="How to get it without this program.")
    homepage: str | None = Field(default=None, pattern=r"^https?://\S+$")
    persons: int | None = Field(default=None, ge=0)
    photos: int | None = Field(default=None, gt=0)
    archives: tuple[Archive, ...] = Field(
        default=(), description="The first is fetched unless another is named."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [name for one in self.archives for name in (one.file, one.unpack_as)]
        if len(set(names)) != len(names):  # a download must not pass for what it becomes
            raise ValueError(f"file and unpack_as of all archives must differ, got {names}")
        return self


def cards_folder() -> Path:
    """Return where the cards are: inside an installed package, else the repository's ``data/0_sources``.

    Raises:
        UsageError: neither is there.
    """
    package = Path(avih.__file__).parent
    candidates = (package / "datasets" / "cards", package.parent / "data" / "0_sources")
    for folder in candidates:
        if any(folder.glob("*.toml")):
            return folder
    raise UsageError(
        f"Expected data-set cards in {candidates[0]} or {candidates[1]}, got none. Reinstall avih."
    )


def card_names(*, folder: Path | None = None) -> tuple[str, ...]:
    """Return the names of all data sets that have a card, sorted."""
    return tuple(sorted(path.stem for path in (folder or cards_folder()).glob("*.toml")))


def load_card(name: str, *, folder: Path | None = None) -> DatasetCard:
    """Load one card.

    Args:
        name: a name of :func:`card_names`.
        folder: where the cards are, if not where avih keeps its own.

    Raises:
        UsageError: no such card, or one that is broken; says which field and what is wrong with it.
    """
    folder = folder or cards_folder()
    names = card_names(folder=folder)
    if name not in names:
        raise UsageError(f"Expected a data set of {', '.join(names)}, got {name!r}. Choose one of them.")
    return read_dataset_card(folder / f"{name}.toml")


def read_dataset_card(path: Path) -> DatasetCard:
    """Read the card in a file.

    Raises:
        UsageError: no such file, or a card that is broken; says which field and what is wrong with it.
    """
    name = path.stem
    try:
        card = DatasetCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
        raise UsageError(f"The card {path} does not fit: {problems}. Correct these fields.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise UsageError(f"Expected a TOML file at {path}, got: {error}. Correct it.") from error
    if card.name != name:
        raise UsageError(f"Expected the name {name!r} in {path}, got {card.name!r}. Name both alike.")
    return card


def expected_sha256(card: DatasetCard, archive: Archive) -> str:
    """Return the hash that a download must have.

    Raises:
        DownloadFailed: the card has none.
    """
    if archive.sha256 is None:
        raise DownloadFailed(
            f"Expected a SHA-256 in the card of {card.name} for {archive.file}, got none: not fetched. "
            f"By hand: {card.by_hand}"
        )
    return archive.sha256


def choose_archive(card: DatasetCard, name: str | None) -> Archive:
    """Return the card's archive of this name, or its first.

    Raises:
        DownloadFailed: there is none.
    """
    for archive in card.archives:
        if name in (None, archive.unpack_as):
            return archive
    if not card.archives:
        raise DownloadFailed(
            f"The data set {card.name} is not fetched by this program. By hand: {card.by_hand}"
        )
    known = ", ".join(archive.unpack_as for archive in card.archives)
    raise DownloadFailed(f"Expected an archive of {known} for {card.name}, got {name!r}. Choose one of them.")


def origin_file(archive: Archive, folder: Path) -> Path:
    """File beside an unpacked archive that says which download it came from, as ``sha256sum`` writes it."""
    return folder / f"{archive.unpack_as}.sha256"


def unpacked(archive: Archive, folder: Path) -> Path | None:
    """Return the folder (or file) that an archive was unpacked as, or None; one unpacked by hand counts.

    Raises:
        DownloadFailed: it was unpacked from another download, of another card or an earlier one.
    """
    place, origin = folder / archive.unpack_as, origin_file(archive, folder)
    if not place.exists():
        return None
    found = origin.read_text().split()[:1] if origin.is_file() else []
    if found and archive.sha256 and found != [archive.sha256]:
        raise DownloadFailed(
            f"Expected {place} from a download with SHA-256 {archive.sha256}, got one from {found[0]}: another "
            "card, or an earlier one, put it there. Move it away, or use another store."
        )
    return place
