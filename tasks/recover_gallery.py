"""Give the pictures back: recover stored images of a version into a private folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from avih.atomic import write_bytes
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.images import encode_png
from avih.recovery import Picture, check_recovery
from avih.settings import Recovery
from avih.shards import iter_samples, read_rows
from tasks import opened
from tasks.progress import advance
from tasks.protect_shard import protected_address
from tasks.records import Place, Record
from tasks.stored import genuine


class Recovered(Record):
    """How many images were written where, which were refused, and why shards were left out."""

    folder: str
    written: int
    refused: tuple[str, ...]
    damaged: tuple[str, ...] = ()


def recover_shards(
    *,
    place: Place,
    key_id: str,
    numbers: Sequence[int],
    recovery: Recovery,
    folder: Path,
    images: frozenset[str] | None,
) -> Recovered:
    """Recover the images of several shards; a damaged one is named, and costs its own images alone.

    Raises:
        KeyRefused: the key's state does not allow it, or the passphrase is wrong.
        IntegrityError: the key is damaged.
    """
    opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")  # a key's damage is no shard's
    written, refused, damaged = 0, list[str](), list[str]()
    for number in numbers:
        if images is not None and written + len(refused) == len(images):
            break
        try:
            part = recover_shard(
                place=place, key_id=key_id, number=number, recovery=recovery, folder=folder, images=images
            )
        except IntegrityError as error:
            damaged.append(f"shard {number}: {error}")
            continue
        written += part.written
        refused += part.refused
    return Recovered(folder=str(folder), written=written, refused=tuple(refused), damaged=tuple(damaged))


def recover_shard(
    *, place: Place, key_id: str, number: int, recovery: Recovery, folder: Path, images: frozenset[str] | None
) -> Recovered:
    """Recover the images of one shard (all, or those named) as PNG files of mode 0600.

    A stored file that is not the one its row names is refused and listed, and so is one whose sealed copy or veil
    does not open; the others are recovered.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"Expected a folder for recovered pictures, got the file {folder}. Choose another --out."
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written, refused = 0, []
    for name, picture in iter_recovered(
        place=place, key_id=key_id, number=number, recovery=recovery, images=images
    ):
        advance("recover")
        if picture is None:
            refused.append(name)
            continue
        write_bytes(folder / f"{name}.png", encode_png(picture), mode=0o600)
        written += 1
    return Recovered(folder=str(folder), written=written, refused=tuple(refused))


def iter_recovered(
    *, place: Place, key_id: str, number: int, recovery: Recovery, images: frozenset[str] | None
) -> Iterator[tuple[str, Picture | None]]:
    """Yield the recovered images of one shard (all, or those named) by id; None where one was refused.

    Raises:
        KeyRefused: the key's state does not allow it, or it is a key of another kind.
        IntegrityError: the shard or the key is damaged.
    """
    address = protected_address(place, key_id, number)
    expected = read_rows(place.folder, address).set_index("image_id").file_sha256.to_dict()
    key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")
    check_recovery(recovery, key.generator)  # a key of another kind is no fault of the files
    for sample in iter_samples(place.folder, address):
        if images is not None and sample.key not in images:
            continue
        try:
            (picture,) = key.recover([genuine(sample, expected=expected.get(sample.key))], recovery)
        except (IntegrityError, KeyRefused):
            yield sample.key, None
        else:
            yield sample.key, picture
