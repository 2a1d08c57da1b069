"""A source of photos in memory."""

from collections.abc import Iterator

from avih.datasets.base import Photo, Skipped
from avih.errors import ImageRefused

MAC_KEY = bytes(range(32))


class MemorySource:
    """A source in memory: path to bytes; None is a photo that cannot be read."""

    name, layout = "memory", "image_folder"

    def __init__(self, files: dict[str, bytes | None], skipped: tuple[str, ...] = ()) -> None:
        self.files, self.left_out = files, skipped

    def photos(self) -> Iterator[Photo]:
        return iter(Photo(path, path.split("/")[0]) for path in sorted(self.files))

    def read(self, photo: Photo) -> bytes:
        content = self.files[photo.path]
        if content is None:
            raise ImageRefused("no_permission", "It may not be read.")
        return content

    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(Skipped(path, "link_to_folder", "A link.") for path in self.left_out)

    def ignored(self) -> tuple[str, ...]:
        return ()


def files(count: int, person: str = "anna") -> dict[str, bytes | None]:
    return {f"{person}/{i:02d}.jpg": f"{person} {i}".encode() for i in range(count)}
