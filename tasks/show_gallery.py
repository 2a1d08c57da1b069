"""What ``avih show`` serves: the report of a version made afresh, and its pictures page by page."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pandas as pd

from avih.errors import IntegrityError
from avih.evaluation.spread import Spread
from avih.evaluation.summary import COUNTED
from avih.gallery_report.facts import GalleryFacts, Now
from avih.gallery_report.page import page
from avih.gallery_report.pictures import Card, Sheet, pictures_page
from avih.images import encode_png
from avih.index_file import shard_sizes
from avih.naming import Store
from avih.recovery import check_recovery
from avih.shards import iter_samples, read_rows
from tasks import opened
from tasks.evaluate_shard import evaluated_address
from tasks.gallery_facts import SHOWN, SUMMARY, gather, read_summary
from tasks.measurements import Measurements
from tasks.protect_shard import protected_address
from tasks.recover_gallery import iter_recovered
from tasks.run_record import RunRecord

PAGE = 60  # pictures of a page
BROWSE = "pictures"
FIGURES = ("cos", "ssim_e", "ssim_d")
LONGEST_NUMBER = 9  # digits of a page's number


class GalleryPages:
    """The pages of one version, each made when it is asked for; nothing is written, nothing is counted.

    Args:
        record: the version.
        store: address of the store.
        now: says how the gallery is at this moment.
        recovered: show recovered pictures beside the protected ones.
        mac_key: checks what is signed; None where there is no passphrase.

    Raises:
        KeyRefused: recovered pictures were asked for, and the key does not allow it.
        IntegrityError: the key is damaged.
    """

    def __init__(
        self, record: RunRecord, *, store: str, now: Callable[[], Now], recovered: bool, mac_key: bytes | None
    ) -> None:
        self._record, self._now, self._recovered, self._mac_key = record, now, recovered, mac_key
        self._place = record.place(Store.find(store))
        self._recovery = record.settings.protect.recovery
        self._kept: tuple[tuple[object, ...], GalleryFacts] | None = None
        if recovered:
            key = opened.opening(
                self._place, key_id=record.key_id, recovery=self._recovery, purpose="recover"
            )
            check_recovery(self._recovery, key.generator)

    def __call__(self, path: str, asked: dict[str, str]) -> str | None:
        """Return the page at a path; None where there is none."""
        if path == "":
            return self.report(browse=BROWSE)
        if path == BROWSE:
            number = asked.get("page", "1")
            if not (number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER):
                return None
            sheet = self.sheet(int(number))
            return None if sheet is None else pictures_page(sheet, report="./", browse=BROWSE)
        return None

    def report(self, *, browse: str = "") -> str:
        """Return the report with the state of the gallery at this moment.

        Args:
            browse: address of the pages of pictures, where they are served.
        """
        return page(replace(self._facts(), now=replace(self._now(), browse=browse)))

    def _facts(self) -> GalleryFacts:
        """Gather the facts again when the version was evaluated, signed or erased from meanwhile."""
        at = {"gallery": self._place.gallery, "version": self._place.version, "key_id": self._record.key_id}
        store = self._place.folder
        folders = [store.folder(stage, **at) for stage in ("protected", "evaluated")]
        stamp = tuple(_stamp(path) for folder in folders for path in (folder, folder / SUMMARY))
        if self._kept is None or self._kept[0] != stamp:
            self._kept = stamp, self._gathered()
        return self._kept[1]

    def _gathered(self) -> GalleryFacts:
        place, key_id, notes = self._place, self._record.key_id, []
        shards = self._shards()
        try:
            summary = read_summary(
                place.folder,
                gallery=place.gallery,
                version=place.version,
                key_id=key_id,
                mac_key=self._mac_key,
            )
        except IntegrityError as error:
            summary = None
            notes.append(str(error))
        files = (place.folder.shard(evaluated_address(place, key_id, number), "parquet") for number in shards)
        measured = bool(shards) and all(path.is_file() for path in files)
        tables: Measurements | _Rows = _Rows(self, shards)
        if summary is not None and measured:
            tables = Measurements(place=place, key_id=key_id, shards=shards)
        return gather(
            place=place, key_id=key_id, shards=shards, tables=tables, summary=summary if measured else None,
            limits=self._record.settings.evaluate.limits, pictures=self._spread(shards), mac_key=self._mac_key,
            notes=notes,
        )  # fmt: skip

    def _shards(self) -> list[int]:
        sizes = shard_sizes(
            store=self._place.folder, gallery=self._place.gallery, version=self._place.version
        )
        there = (protected_address(self._place, self._record.key_id, number) for number in sizes)
        return [one.number for one in there if self._place.folder.shard(one, "done.json").exists()]

    def _spread(self, shards: Sequence[int]) -> list[bytes]:
        """Read a few pictures of many persons."""
        spread = Spread(SHOWN)
        for rows in _Rows(self, shards):
            spread.add(rows[rows.status.isin(COUNTED)])
        chosen, pictures = spread.chosen(), dict[str, bytes]()
        for number, group in chosen.groupby("shard") if len(chosen) else ():
            pictures |= self._pictures(int(str(number)), set(group.image_id))
        return [pictures[name] for name in chosen.image_id if name in pictures]

    def _pictures(self, number: int, names: set[str]) -> dict[str, bytes]:
        address = protected_address(self._place, self._record.key_id, number)
        samples = iter_samples(self._place.folder, address)
        return {one.key: one.files["png"] for one in samples if one.key in names and "png" in one.files}

    def rows(self, number: int) -> pd.DataFrame:
        """Return what a shard's rows say, with the figures that were measured.

        Raises:
            IntegrityError: the shard is missing or damaged.
        """
        rows = read_rows(self._place.folder, protected_address(self._place, self._record.key_id, number))
        path = self._place.folder.shard(
            evaluated_address(self._place, self._record.key_id, number), "parquet"
        )
        try:
            measured = pd.read_parquet(path, columns=["image_id", *FIGURES]).set_index("image_id")
        except (OSError, ValueError, KeyError):  # not evaluated
            return rows.assign(shard=number)
        plain = rows.drop(columns=[name for name in FIGURES if name in rows.columns])
        return plain.join(measured, on="image_id").assign(shard=number)

    def sheet(self, number: int) -> Sheet | None:
        """Return a page of pictures; None where there are fewer pages. Only its own shards are read."""
        sizes = shard_sizes(
            store=self._place.folder, gallery=self._place.gallery, version=self._place.version
        )
        photos = sum(sizes.values())
        pages = max(1, -(-photos // PAGE))
        if not 1 <= number <= pages:
            return None
        first, cards, problems = (number - 1) * PAGE, list[Card](), list[str]()
        begins = accumulate(sizes.values(), initial=0)
        for (shard, size), begin in zip(sizes.items(), begins, strict=False):
            low, high = max(first - begin, 0), min(first + PAGE - begin, size)
            if low < high:
                try:
                    cards += self._cards(shard, low, high)
                except IntegrityError as error:
                    problems.append(f"shard {shard}: {error}")
        return Sheet(self._place.gallery, self._place.version, number, pages, photos, first + 1, self._recovered,
                     tuple(cards), tuple(problems))  # fmt: skip

    def _cards(self, number: int, low: int, high: int) -> Iterator[Card]:
        rows = self.rows(number).iloc[low:high]
        names = frozenset(rows.loc[rows.status.isin(COUNTED), "image_id"])
        protected = self._pictures(number, set(names)) if names else {}
        recovered = dict[str, bytes]()
        if self._recovered and names:
            found = iter_recovered(
                place=self._place,
                key_id=self._record.key_id,
                number=number,
                recovery=self._recovery,
                images=names,
            )
            recovered = {name: encode_png(picture) for name, picture in found if picture is not None}
        for row in rows.to_dict("records"):
            figures = {name: float(row[name]) for name in FIGURES if pd.notna(row.get(name))}
            image = str(row["image_id"])
            yield Card(image, str(row["status"]), str(row["reason"] or ""), protected=protected.get(image),
                       recovered=recovered.get(image), **figures)  # fmt: skip


class _Rows:
    """The rows of a version shard by shard, as often as they are gone through; a damaged shard is left out."""

    def __init__(self, pages: GalleryPages, shards: Sequence[int]) -> None:
        self._pages, self._shards = pages, shards

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for number in self._shards:
            try:
                yield self._pages.rows(number)
            except IntegrityError:
                continue


def _stamp(path: Path) -> object:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
