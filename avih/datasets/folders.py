"""The readers: one class per layout, each with its rule for whom a photo shows."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from avih.datasets.base import FolderSource, Listing, Photo, Skipped, read_inside
from avih.errors import ImageRefused, UsageError


class LfwFolder(FolderSource):
    """Labeled Faces in the Wild and whatever follows its names: ``<Person>/<Person>_0001.jpg``."""

    layout = "lfw"
    expects = "<Person>/<Person>_0001.jpg"

    @classmethod
    def recognises(cls, listing: Listing) -> bool:
        """Take a folder in which every photo follows the naming rule."""
        return all(_lfw_person(PurePosixPath(path)) is not None for path in listing.images)

    def person(self, path: PurePosixPath) -> str | None:
        """Return the folder's name, where the file's name repeats it with a number of four digits."""
        return _lfw_person(path)


def _lfw_person(path: PurePosixPath) -> str | None:
    if len(path.parts) != 2 or not re.fullmatch(re.escape(path.parts[0]) + r"_\d{4}", path.stem):
        return None
    return path.parts[0]


class OrlFolder(FolderSource):
    """The ORL (AT&T) face database: ``s1/1.pgm`` to ``s40/10.pgm``."""

    layout = "orl"
    expects = "s1/1.pgm, a person's number after s and a photo's number"

    @classmethod
    def recognises(cls, listing: Listing) -> bool:
        """Take a folder in which every photo is named by two numbers."""
        return all(_orl_person(PurePosixPath(path)) is not None for path in listing.images)

    def person(self, path: PurePosixPath) -> str | None:
        """Return the folder's name: ``s1``."""
        return _orl_person(path)


def _orl_person(path: PurePosixPath) -> str | None:
    fits = len(path.parts) == 2 and re.fullmatch(r"s\d+", path.parts[0]) and re.fullmatch(r"\d+", path.stem)
    return path.parts[0] if fits else None


class CelebaFolder(FolderSource):
    """CelebA: ``img_align_celeba/000001.jpg``, and ``identity_CelebA.txt`` with lines ``000001.jpg 2880``.

    Both may lie one folder deeper, as the official download (``Img/``, ``Anno/``) and its mirrors have them.
    """

    layout = "celeba"
    expects = "img_align_celeba/000001.jpg, with a line for 000001.jpg in identity_CelebA.txt"
    IDENTITIES = "identity_CelebA.txt"

    @classmethod
    def recognises(cls, listing: Listing) -> bool:
        """Take a folder that has both the identities and a photo where CelebA has them."""
        return bool(cls._identity_files(listing)) and any(map(_in_celeba, listing.images))

    @classmethod
    def _identity_files(cls, listing: Listing) -> list[str]:
        return [path for path in listing.ignored if PurePosixPath(path).name == cls.IDENTITIES]

    @cached_property
    def _identities(self) -> dict[str, str]:
        """Photo name to person's number; raises UsageError for a missing, doubled or malformed file."""
        files = self._identity_files(self._listing)
        if len(files) != 1:
            raise UsageError(
                f"Expected one {self.IDENTITIES} below {self.root}, got {len(files)}. "
                "It comes with CelebA's annotations; without it, use --layout coco."
            )
        try:
            text = read_inside(self.root, files[0]).decode()
        except (ImageRefused, UnicodeDecodeError) as error:
            raise UsageError(
                f"Expected a readable text file {files[0]}, got: {error}. Fetch it again."
            ) from error
        identities: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            words = line.split()
            if len(words) != 2 or not words[1].isdecimal():
                raise UsageError(
                    f"Expected '000001.jpg 2880' in line {number} of {files[0]}, got {line[:80]!r}."
                )
            identities[words[0]] = words[1]
        return identities

    def person(self, path: PurePosixPath) -> str | None:
        """Return the person's number as the identities file writes it."""
        return self._identities.get(path.name) if _in_celeba(str(path)) else None


def _in_celeba(path: str) -> bool:
    return PurePosixPath(path).parent.name == "img_align_celeba"


class CocoFolder(FolderSource):
    """COCO and any folder of pictures of nobody in particular: all photos, no persons."""

    layout = "coco"
    expects = "image files"

    @classmethod
    def recognises(cls, listing: Listing) -> bool:
        """Never: a folder without persons is for training only, so it has to be asked for."""
        return False

    def person(self, path: PurePosixPath) -> str | None:
        """Return no name."""
        return ""


class ImageFolder(FolderSource):
    """Any folder: the first folder below the root names the person, or the file itself if there is none."""

    layout = "image_folder"
    expects = "<person>/<anything>.jpg or <person>.jpg"

    @classmethod
    def recognises(cls, listing: Listing) -> bool:
        """Take whatever no other reader took."""
        return True

    def person(self, path: PurePosixPath) -> str | None:
        """Return the first folder's name, or the file's name without its ending."""
        return path.parts[0] if len(path.parts) > 1 else path.stem


class SyntheticSource:
    """Invented persons, drawn when read: ``person_0007/person_0007_0003.png`` is the third of person 7."""

    name = "synthetic"
    layout = "synthetic"

    def __init__(
        self,
        *,
        persons: int = 64,
        photos_per_person: int = 8,
        first_person: int = 0,
        size: int = 160,
        seed: int = 2023,
    ) -> None:
        # Imported here: drawing needs scikit-image and SciPy, which reading a folder does not.
        from avih.datasets.synthetic import SyntheticFaces

        self.faces = SyntheticFaces(
            persons=persons,
            photos_per_person=photos_per_person,
            first_person=first_person,
            size=size,
            seed=seed,
        )

    @cached_property
    def _numbers(self) -> dict[str, tuple[int, int]]:
        """Path to person and photo index; file names count from 1, as LFW's do."""
        faces, numbers = self.faces, {}
        for person in range(faces.first_person, faces.first_person + faces.persons):
            name = faces.person_name(person)
            for index in range(faces.photos_per_person):
                numbers[f"{name}/{name}_{index + 1:04d}.png"] = (person, index)
        return numbers

    def photos(self) -> Iterator[Photo]:
        """Yield all photos, sorted by path."""
        return (Photo(path=path, person=path.split("/")[0]) for path in sorted(self._numbers))

    def read(self, photo: Photo) -> bytes:
        """Draw one photo and return it as PNG.

        Raises:
            ImageRefused: the path names no photo of this source.
        """
        from avih.images import encode_png

        if photo.path not in self._numbers:
            raise ImageRefused(
                "missing", f"The synthetic data set of {len(self._numbers)} photos has no such photo."
            )
        person, index = self._numbers[photo.path]
        return encode_png(self.faces.photo(person, index))

    def skipped(self) -> tuple[Skipped, ...]:
        """Return nothing: all photos can be drawn."""
        return ()

    def ignored(self) -> tuple[str, ...]:
        """Return nothing: there are no other files."""
        return ()


def describe_endings(listing: Listing, root: Path) -> str:
    """Say what a folder without photos holds instead, for an error text."""
    if not listing.ignored:
        return f"{root} is empty"
    endings = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in listing.ignored)
    seen = ", ".join(f"{count} with {ending}" for ending, count in endings.most_common(3))
    return f"{root} holds {len(listing.ignored)} other files ({seen})"
