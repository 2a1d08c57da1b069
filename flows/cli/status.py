"""``avih status``: what is live, how it goes, what waits for a person, and what the store takes on the disk."""

from typing import TYPE_CHECKING

from flows.cli.main import app
from flows.cli.options import DebugOption, JsonOption, StoreOption
from flows.cli.output import err, explained, print_json, table

if TYPE_CHECKING:
    from avih.naming import Store
    from tasks.status import StoreStatus
    from tasks.status_events import Event, Failure, UnderWay
    from tasks.status_gallery import GalleryStatus, Live, Unfinished
    from tasks.status_parts import Audited, Drilled, KeyFacts, Lock

MOST_STRAGGLERS = 5  # that people see; --json has all
MAKERS = {
    "ended": "left by a run that ended",
    "running": "being written",
    "unknown": "by whom is not known",
}
HOLDS_NO_LOCKS = "not known: no locks on this file system"


@app.command()
def status(store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Say how every gallery of a store is: what is live, its key, last night, drill and audit, and what waits.

    Nothing is changed and nobody is asked for a passphrase: without one in the environment, what is signed is
    shown as unchecked.

    Example: avih status --store /srv/avih --json
    """
    with explained(debug):
        from avih.naming import Store

        found = _read(Store.open(store))
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            _show(found)


def _read(store: "Store") -> "StoreStatus":
    from tasks.status import read_status

    failures, problems = read_failures(store)
    return read_status(store, failures=failures, problems=problems)


def read_failures(store: "Store") -> "tuple[list[Failure], list[str]]":
    """Read the alerts of a store, or say why they cannot be read."""
    from avih.errors import AvihError
    from flows.alerts import read_alerts
    from tasks.status_events import Failure

    try:
        alerts, problems = read_alerts(store), []
    except (AvihError, OSError) as error:
        alerts, problems = [], [str(error)]
    return [Failure(time=a.time, flow=a.flow, gallery=a.gallery, error=a.error) for a in alerts], problems


def _show(found: "StoreStatus") -> None:
    from rich.markup import escape

    for gallery in found.galleries:
        table(gallery.gallery, {name: escape(text) for name, text in gallery_rows(gallery).items()})
    disk = found.disk
    rows: dict[str, object] = {f"used by {name}": _size(size) for name, size in disk.used.items()}
    rows |= {"used": _size(disk.total), "free on the disk": _size(disk.free)}
    left = [f"{one.path}  {_size(one.size)}  {one.time}  {MAKERS[one.maker]}" for one in disk.stragglers]
    more = len(left) - MOST_STRAGGLERS
    shown = left[:MOST_STRAGGLERS] + ([f"and {more} more: --json names all"] if more > 0 else [])
    rows["temporary files"] = escape("\n".join(shown) or "none")
    if found.alerts:
        rows["alerts of no gallery"] = escape(_alerts(found.alerts))
    table(escape(f"{found.store}, galleries: {len(found.galleries)}"), rows)
    if found.why_unchecked:
        err.print(f"note: signatures are unchecked: {found.why_unchecked}", markup=False, soft_wrap=True)
    for problem in found.problems:
        err.print(f"problem: {problem}", markup=False, soft_wrap=True)


def gallery_rows(gallery: "GalleryStatus") -> dict[str, str]:
    """Return what people see of a gallery, line by line."""
    rows = _live(gallery.live)
    versions = [f"{one.version} {one.state}" for one in gallery.versions]
    rows["versions"] = ", ".join(versions) or "none that can be read"
    rows |= _key(gallery.key)
    rows["last night"] = _event(gallery.last_night)
    rows["last rotation"] = _event(gallery.last_rotation)
    if gallery.rotation:
        rows["rotation under way"] = _under_way(gallery.rotation)
    rows["last drill"] = _drill(gallery.last_drill)
    rows["last audit"] = _audit(gallery.last_audit)
    rows["lock"] = _lock(gallery.lock)
    rows |= {f"{one.version} is unfinished": _unfinished(one) for one in gallery.unfinished}
    if gallery.waiting:
        rows["WAITS FOR YOU"] = "\n".join(gallery.waiting)
    rows["open alerts"] = _alerts(gallery.alerts) if gallery.alerts else "none"
    if gallery.problems:
        rows["PROBLEMS"] = "\n".join(gallery.problems)
    return rows


def _live(live: "Live | None") -> dict[str, str]:
    if live is None:
        return {"live": "no version"}
    told = f"{live.version} since {live.since}{_age(live.age_days)}, {live.signature}"
    return {"live": told, "photos": "not known" if live.images is None else _counts(live.images)}


def _counts(images: dict[str, int]) -> str:
    usual = ("protected", "failed", "skipped")
    names = [*usual, *(name for name in sorted(images) if name not in usual)]
    return ", ".join(f"{images.get(name, 0)} {name.replace('_', ' ')}" for name in names)


def _key(key: "KeyFacts | None") -> dict[str, str]:
    if key is None:
        return {"key": "none known"}
    return {
        "key": f"{key.key_id}  {key.state}  {key.recovery}  {key.age_days} days old",
        "leak budget": f"{key.budget_used} of {key.budget_limit} used, {key.signature}",
    }


def _age(days: int | None) -> str:
    return "" if days is None else f" ({days} days ago)"


def _event(event: "Event | None") -> str:
    if event is None:
        return "none known"
    about = f": {event.about}" if event.about else ""
    return f"{event.outcome} {event.time}{_age(event.age_days)}{about}"


def _under_way(rotation: "UnderWay") -> str:
    keys = f"key {rotation.old_key} -> {rotation.new_key or 'not made yet'}"
    versions = f"{rotation.old_version} -> {rotation.version}"
    return f"{versions}, {keys}, began {rotation.began}, approve {rotation.approve}, {rotation.signature}"


def _drill(drill: "Drilled | None") -> str:
    if drill is None:
        return "none known"
    failed = f"FAILED ({drill.failed} pictures, {drill.damaged} damaged shards)"
    mean = "" if drill.mean_ssim_d is None else f", SSIM_d {drill.mean_ssim_d:.4f}"
    when = f"{'passed' if drill.passed else failed} {drill.time}{_age(drill.age_days)}"
    return f"{when}, {drill.sample} of {drill.version}{mean}, {drill.signature}"


def _audit(audit: "Audited | None") -> str:
    if audit is None:
        return "none known"
    when = f"{audit.verdict} {audit.time}{_age(audit.age_days)}"
    return f"{when}, {audit.version}, {audit.profile}, {audit.signature}"


def _lock(lock: "Lock | None") -> str:
    if lock is None:
        return "not known"
    holder = f"{lock.purpose} by process {lock.pid} on {lock.host} since {lock.since}" if lock.purpose else ""
    if lock.state == "held":
        stale = "; STALE: that process is gone, a child of it may hold the gallery" if lock.stale else ""
        return f"held: {holder or 'by a process that has just begun'}{stale}"
    last = f"; last held: {holder}" if holder else ""
    return ("free" if lock.state == "free" else HOLDS_NO_LOCKS) + last


def _unfinished(one: "Unfinished") -> str:
    return f"shards: {one.aligned} aligned, {one.protected} protected, {_size(one.size)}"


def _alerts(alerts: "tuple[Failure, ...]") -> str:
    last = alerts[-1]
    return f"{len(alerts)}, the last {last.time} {last.flow}: {last.error}"


def _size(size: float) -> str:
    """Write bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
