"""The bench on which things are broken: prepared galleries to copy, forked processes, servers, one seed."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from benchmarks.faults import works
from benchmarks.faults.forks import Forks, Work
from benchmarks.faults.gallery import PASSPHRASE, Gallery
from benchmarks.faults.hooks import AtChange
from benchmarks.faults.processes import Ended
from benchmarks.faults.s3 import S3
from benchmarks.faults.servers import Servers

if TYPE_CHECKING:
    from benchmarks.faults.cluster import Cluster

Profile = Literal["quick", "full"]
Start = Literal["nothing", "begun", "protected", "live"]


@dataclass(frozen=True)
class Undisturbed:
    """What a work comes to when nothing breaks: its gallery, its changes of files, its seconds."""

    gallery: Gallery
    changes: int
    seconds: float


@dataclass
class Bench:
    """Everything that attempts share.

    Args:
        profile: how many attempts are made.
        seed: all random points follow from it.
        say: gets one line for people at each step.
    """

    profile: Profile
    seed: int
    say: Callable[[str], None]
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict, init=False)
    _copies: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        """Make a private folder that is gone afterwards."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="avih-faults-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process that was started, and remove the folder."""
        self._stack.__exit__(kind, error, trace)

    @cached_property
    def servers(self) -> Servers:
        """The servers; each starts when it is first asked for."""
        servers = Servers(self.folder / "servers")
        self._stack.callback(servers.stop)
        return servers

    @cached_property
    def forks(self) -> Forks:
        """Processes of the product, all with the same Prefect server."""
        output = self.folder / "output"
        output.mkdir()
        self.say("starting a Prefect server, and a process that imports everything once")
        forks = Forks(output, self.servers.environment() | {"AVIH_PASSPHRASE": PASSPHRASE})
        self._stack.callback(forks.end_all)
        return forks

    @cached_property
    def s3(self) -> S3:
        """An S3 server and a line to it."""
        s3 = S3()
        self._stack.callback(s3.stop)
        return s3

    @cached_property
    def cluster(self) -> "Cluster":
        """A Dask cluster."""
        from benchmarks.faults.cluster import Cluster

        cluster = Cluster(self)
        self._stack.callback(cluster.stop)
        return cluster

    def tidy(self) -> None:
        """End what an attempt left running, and remove its galleries."""
        if "forks" in vars(self):
            self.forks.end_all()
        for path in self.folder.glob("copy-*"):
            shutil.rmtree(path, ignore_errors=True)

    def gallery(self, start: Start) -> Gallery:
        """Return a gallery of its own for one attempt: a copy of one that nothing disturbed.

        Args:
            start: nothing but photos; begun (indexed, aligned, a key made); protected; or live.
        """
        return self._copy(self._template(start))

    def undisturbed(self, name: str, start: Start, work: Work, *arguments: str) -> Undisturbed:
        """Do a work once with nothing broken, and remember what it comes to.

        Args:
            name: what to remember it under.
            start: what it starts from.
            work: what is done with the gallery.
            arguments: of the work; ``{store}`` and ``{photos}`` stand for the gallery's.
        """
        if name not in self._undisturbed:
            gallery = self._copy(self._template(start), f"undisturbed-{name}")
            counted = self.folder / f"changes-{name}"
            counting = AtChange(gallery.address, "count", counted=str(counted))
            ended = self.forks.run(work, *given(arguments, gallery), before=[works.cheap_keys, counting])
            ended.require_code(0, what=f"undisturbed {name}")
            self._undisturbed[name] = Undisturbed(gallery, int(counted.read_text()), ended.seconds)
        return self._undisturbed[name]

    def run(self, gallery: Gallery, work: Work, *arguments: str) -> Ended:
        """Do a work with nothing broken (any more) and wait for its end."""
        return self.forks.run(work, *given(arguments, gallery), before=[works.cheap_keys])

    def command(self, gallery: Gallery, name: str, *more: str) -> Ended:
        """Run an ``avih`` command on a gallery with nothing broken and wait for its end."""
        return self.run(gallery, works.command, *gallery.command(name, *more))

    def _template(self, start: Start) -> Gallery:
        if start == "protected":
            return self.undisturbed("protect", "begun", works.command, *PROTECT).gallery
        if start == "live":
            return self.undisturbed("run", "begun", works.run_all, *RUN).gallery
        gallery = Gallery(self.folder / f"template-{start}")
        if not gallery.root.exists():
            self.say("preparing a gallery")
            if start == "begun":
                ended = self.forks.run(works.prepare, str(gallery.root), before=[works.cheap_keys])
                ended.require_code(0, what="preparing a gallery")
            else:
                shutil.copytree(self._template("begun").root / "photos", gallery.root / "photos")
        return gallery

    def _copy(self, template: Gallery, name: str = "") -> Gallery:
        self._copies += 1
        copy = Gallery(self.folder / (name or f"copy-{self._copies}"))
        shutil.copytree(template.root, copy.root)
        return copy


PROTECT = ("protect", "--gallery", works.GALLERY, "--store", "{store}")
RUN = ("{store}", "{photos}")


def given(arguments: tuple[str, ...], gallery: Gallery) -> tuple[str, ...]:
    """Put a gallery's addresses into arguments."""
    places = {"{store}": gallery.address, "{photos}": gallery.photos}
    return tuple(places.get(word, word) for word in arguments)
