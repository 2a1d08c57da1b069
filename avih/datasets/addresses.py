"""Data sets as sources: ``dataset:NAME``, ``dataset:NAME/UNPACK_AS`` or ``dataset:/path/to/card.toml``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avih.datasets.cards import (
    Archive,
    DatasetCard,
    choose_archive,
    expected_sha256,
    load_card,
    read_dataset_card,
    unpacked,
)
from avih.errors import UsageError
from avih.names import DATASET_PREFIX

_ENDING = ".toml"


def is_dataset(source: str) -> bool:
    """Tell whether a source is the address of a data set (write ``./dataset:x`` for a folder of that name)."""
    return source.startswith(DATASET_PREFIX)


@dataclass(frozen=True)
class Dataset:
    """One archive of a data set: what an address names.

    Attributes:
        card: the data set's card.
        archive: the archive that is fetched and unpacked.
        card_file: the card, where it is one of the user's own.
    """

    card: DatasetCard
    archive: Archive
    card_file: Path | None = None

    @classmethod
    def find(cls, source: str, *, archive: str | None = None) -> "Dataset":
        """Read an address, with or without its ``dataset:``.

        Args:
            source: the address.
            archive: ``unpack_as`` of another archive of the card than its first, if the address names none.

        Raises:
            UsageError: no such card, or a broken one.
            DownloadFailed: the card has no such archive.
        """
        text = source.removeprefix(DATASET_PREFIX)
        path, named = _split(text)
        if named and archive and named != archive:
            raise UsageError(f"Expected one archive, got {named!r} and {archive!r}. Leave one out.")
        own = Path(path).expanduser().absolute() if path.endswith(_ENDING) else None
        card = read_dataset_card(own) if own else load_card(path)
        return cls(card, choose_archive(card, named or archive), own)

    @property
    def address(self) -> str:
        """The address in full: any process on this machine finds the same by it."""
        named = f"/{self.archive.unpack_as}" if self._is_another else ""
        return f"{DATASET_PREFIX}{self.card_file or self.card.name}{named}"

    @property
    def fetch_command(self) -> str:
        """What people type to fetch it."""
        named = f" --archive {self.archive.unpack_as}" if self._is_another else ""
        return f"avih datasets fetch {self.card_file or self.card.name}{named}"

    @property
    def _is_another(self) -> bool:
        return self.archive != self.card.archives[0]

    def place(self, downloads: Path) -> Path:
        """Return the folder that it becomes."""
        return downloads / self.archive.unpack_as

    def is_fetched(self, downloads: Path) -> bool:
        """Tell whether that folder is there.

        Raises:
            DownloadFailed: it was unpacked from another download.
        """
        return unpacked(self.archive, downloads) is not None

    def check_fetchable(self, downloads: Path) -> None:
        """Make sure, before anything long begins, that it is fetched or that its card lets it be.

        Raises:
            DownloadFailed: the card has no SHA-256, or another download has its place.
        """
        if not self.is_fetched(downloads):
            expected_sha256(self.card, self.archive)

    def fetch(
        self, downloads: Path, *, progress: bool, heard: Callable[[int, int | None], None] | None = None
    ) -> Path:
        """Fetch it, or return at once if that was done before; licence and citation are told on standard error.

        Raises:
            DownloadFailed: see :func:`avih.datasets.download.fetch`.
        """
        # Not above: most sources need no network, and what speaks to it takes long to load.
        from rich.console import Console

        from avih.datasets.download import fetch

        if not self.is_fetched(downloads):
            self.check_fetchable(downloads)
            Console(stderr=True, highlight=False).print(self.introduction(), markup=False, soft_wrap=True)
        return fetch(
            card=self.card, folder=downloads, progress=progress, archive=self.archive.unpack_as, heard=heard
        )

    def introduction(self) -> str:
        """Say what is about to be fetched, what may be done with it, and whom to name."""
        size = f", {self.archive.size_bytes:,} bytes" if self.archive.size_bytes else ""
        return (
            f"fetching {self.card.title} from {self.archive.address}{size}\n"
            f"licence: {self.card.licence}\ncitation: {self.card.citation}"
        )


def _split(text: str) -> tuple[str, str | None]:
    """Part a card's name or path from the archive that may be named behind it."""
    card, slash, archive = text.rpartition("/")
    return (card, archive) if slash and not text.endswith(_ENDING) else (text, None)


def dataset_folder(source: str, *, layout: str, downloads: Path | None) -> tuple[str, str]:
    """Return the folder of a fetched data set and the layout to read it with: the card's, unless one is given.

    Raises:
        UsageError: no such data set, or it is not fetched yet.
        DownloadFailed: another download has its place.
    """
    dataset = Dataset.find(source)
    place = dataset.place(downloads) if downloads else None
    if downloads is None or not dataset.is_fetched(downloads):
        raise UsageError(
            f"Expected the data set {dataset.card.name} at {place or 'its place in a store'}, got nothing: it is "
            f"not fetched yet. Run: {dataset.fetch_command}"
        )
    return str(place), dataset.card.layout if layout == "auto" else layout
