"""Fetch a data set by its card: resumed, checked by SHA-256, unpacked with care, done when renamed."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3.exceptions import HTTPError

from avih.atomic import folder_lock, write_bytes
from avih.datasets.cards import (
    Archive,
    DatasetCard,
    choose_archive,
    expected_sha256,
    origin_file,
    unpacked,
)
from avih.datasets.unpack import unpack
from avih.errors import DownloadFailed, NetworkFailed

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5  # of one call; each has to bring new bytes
CHUNK_BYTES = 2**18
TIMEOUT_SECONDS = (10, 60)  # to connect, to the next bytes
PASSING_CODES = frozenset({408, 429, 500, 502, 503, 504})  # of a server that may answer soon

Heard = Callable[[int, int | None], None]  # bytes that are here, and of how many


def fetch(
    *,
    card: DatasetCard,
    folder: Path,
    progress: bool = True,
    archive: str | None = None,
    heard: Heard | None = None,
) -> Path:
    """Download and unpack a data set, or return at once if that was done before.

    An interrupted download goes on where it stopped, at the next call too. A file that was put into
    ``folder`` by hand is used if its SHA-256 is right. Of two that ask at once, one fetches and one waits.

    Args:
        card: the data set's card.
        folder: where the download and the unpacked folder go.
        progress: show a progress bar on standard error.
        archive: ``unpack_as`` of another archive of the card than its first.
        heard: told how many bytes have arrived, and of how many.

    Returns:
        The unpacked folder (or file), to be opened with ``open_source``.

    Raises:
        DownloadFailed: not in the card, no SHA-256, cut, altered, or an unsafe archive.
        NetworkFailed: no connection, or it was cut; the same call goes on where it stopped.
    """
    chosen = choose_archive(card, archive)
    if there := unpacked(chosen, folder):
        logger.info("%s is there already", there)
        return there
    sha256 = expected_sha256(card, chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(f"Expected a folder at {folder}, got: {error}. Check the path.") from error
    with folder_lock(folder):
        if there := unpacked(chosen, folder):  # fetched by another process meanwhile
            return there
        file = _download(chosen, sha256=sha256, folder=folder, progress=progress, heard=heard)
        return _put_in_place(file, chosen, folder / chosen.unpack_as)


def _download(archive: Archive, *, sha256: str, folder: Path, progress: bool, heard: Heard | None) -> Path:
    """Let pooch fetch and check the file; say what to do if that fails."""
    place = folder / archive.file
    by_hand = f"Or fetch it another way, put it at {place} and run the same command again."
    part = place.with_name(f"{place.name}.part")
    downloader = ResumingDownloader(part=part, size_bytes=archive.size_bytes, progress=progress, heard=heard)
    pooch.get_logger().setLevel(logging.WARNING)
    logger.info("fetching %s to %s", archive.address, place)
    try:
        done = pooch.retrieve(
            url=archive.address,
            known_hash=f"sha256:{sha256}",
            fname=place.name,
            path=folder,
            downloader=downloader,
        )
    except (OSError, HTTPError) as error:  # requests' errors are OSErrors
        kept = (
            f"{part.stat().st_size:,} bytes are kept; the same command goes on there. "
            if part.exists()
            else ""
        )
        other = f"The file at {place} has another SHA-256. " if place.exists() else ""
        kind = NetworkFailed if _may_pass(error) else DownloadFailed
        raise kind(
            f"Expected {place.name} from {archive.address}, got: {_reason(error)}. {kept}{other}{by_hand}"
        ) from error
    except ValueError as error:
        raise DownloadFailed(
            f"Expected {place.name} from {archive.address} with SHA-256 {sha256}, got {downloader.sha256}; "
            f"the file was deleted. Run the same command again; if it fails twice, the file at that address "
            f"is another one. {by_hand}"
        ) from error
    return Path(done)


def _reason(error: Exception) -> str:
    """Name the cause in a few words; requests' own texts are long and hold object addresses."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, _Cut):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError | HTTPError | requests.exceptions.ChunkedEncodingError):
        return "no connection to the server, or it was cut"
    return str(error)


def _may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed in a few seconds."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in PASSING_CODES
    network = (
        requests.Timeout | requests.ConnectionError | requests.exceptions.ChunkedEncodingError | HTTPError
    )
    return isinstance(error, network)


class _Cut(requests.ConnectionError):
    """The server sent less, or something else, than it announced."""


class ResumingDownloader:
    """A downloader for pooch that collects a file in ``part`` and asks only for what is missing there."""

    def __init__(
        self, *, part: Path, size_bytes: int | None, progress: bool, heard: Heard | None = None
    ) -> None:
        self.part = part
        self.size_bytes = size_bytes
        self.progress = progress
        self.heard = heard or (lambda have, total: None)
        self.sha256 = ""  # of the whole file, once it is there

    def __call__(self, url: str, output_file: str, pooch_: object = None, check_only: bool = False) -> None:
        """Fetch ``url`` into ``output_file``; pooch checks the hash afterwards."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            before = self._have()
            if before == self.size_bytes:  # all had arrived when an earlier call was stopped
                break
            try:
                self._request(url, offset=before)
                break
            except (requests.RequestException, HTTPError) as error:
                if self._have() <= before or attempt == MAX_ATTEMPTS:
                    raise
                logger.warning("cut after %d bytes (%s), going on", self._have(), _reason(error))
        self.sha256 = pooch.file_hash(str(self.part), alg="sha256")
        self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _request(self, url: str, *, offset: int) -> None:
        # Without compression on the way, so that byte positions are those of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            content_range = response.headers.get("Content-Range", "")
            if response.status_code == 416 and offset:
                if content_range == f"bytes */{offset}":
                    return  # everything had arrived before
                self.part.unlink()
                return self._request(url, offset=0)
            response.raise_for_status()
            resumed = response.status_code == 206 and content_range.startswith(f"bytes {offset}-")
            if response.status_code == 206 and not resumed:
                self.part.unlink(missing_ok=True)
                raise _Cut("another part of the file than asked for; it will be fetched from the start")
            self._save(response, offset=offset if resumed else 0)

    def _save(self, response: requests.Response, *, offset: int) -> None:
        """Append the body to the part, or start the part again where the server sent the whole file."""
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() else self.size_bytes
        have = offset
        with self.part.open("ab" if offset else "wb") as file, self._bar() as bar:
            line = bar.add_task(self.part.stem, total=total, completed=offset)
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                have += len(chunk)
                if self.size_bytes is not None and have > self.size_bytes:
                    self.part.unlink()
                    raise OSError(f"more than the {self.size_bytes:,} bytes that the card says")
                file.write(chunk)
                bar.update(line, completed=have)
                self.heard(have, total)
        if total is not None and have < total:
            raise _Cut(f"{have:,} of {total:,} bytes")

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        return Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not self.progress
        )


def _put_in_place(file: Path, archive: Archive, target: Path) -> Path:
    """Unpack beside the target and rename: a target that exists is whole."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary, "unpacked")
        if archive.kind == "file":
            file.rename(made)
        else:
            made.mkdir()
            unpack(file=file, into=made, kind=archive.kind)
            made = made / archive.inner_folder if archive.inner_folder else made
            if not made.is_dir():
                raise DownloadFailed(
                    f"Expected a folder {archive.inner_folder} in {file}, got none. Correct the card."
                )
        # Before the folder: what has its name without this would pass for one that was unpacked by hand.
        write_bytes(origin_file(archive, target.parent), f"{archive.sha256}  {archive.file}\n".encode())
        try:
            made.rename(target)
        except OSError as error:
            if not target.exists():  # else another process was faster
                raise DownloadFailed(f"Expected to make {target}, got: {error}. Check the folder.") from error
    return target
