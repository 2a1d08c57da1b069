"""Parsers of a store's records: done files, manifests, promotions, indexes, the key log, all that is signed."""

import io
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import AvihError
from avih.gallery import read_history
from avih.index_file import iter_index
from avih.keys import KeyStore, LeakBudget, verify_log
from avih.manifest.record import Manifest, file_bytes, parse
from avih.mirror.locks import described, holder_of
from avih.mirror.remote import Seen
from avih.naming import Store
from avih.plan_history import read_plans, read_runs
from avih.shards.reading import samples_of
from avih.shards.record import DoneRecord, parse_done
from benchmarks.bad_inputs.pictures import encoded
from benchmarks.bad_inputs.records import RECORDS
from benchmarks.bad_inputs.small_store import GALLERY, VERSION, key_id, with_passphrase
from benchmarks.fuzz.parser import Parse, Parser, in_file, in_store, name_of, same_record, stored
from tasks.audit_policy import PromotionPolicy
from tasks.drill_record import parse_drill
from tasks.rotation_plan import RotationPlan
from tasks.run_record import read_run
from tasks.signed_json import read_signed
from tasks.stored import stored_of

PLAN: Final = (
    b'{"format_version":1,"time":"2026-01-01","settings_sha256":"'
    + b"0" * 64
    + b'","recogniser":"r","card":"c",'
    b'"machine":"m","newest":1,"images":2,"seconds_each":{"optimise":0.5}}\n'
)
LOCK: Final = b'{"free": false, "stale": 60.0, "purpose": "a run", "pid": 7, "host": "h", "since": "now"}'
# A caller turns pydantic's errors into its own.
UNSIGNED: Final = (AvihError, ValidationError, KeyError)
TIMING: Final = b'{"seconds": 2.5, "images": 2, "machine": "m"}\n'
DONE: Final = Path("00000.done.json")


def _done(record: DoneRecord) -> DoneRecord:
    return parse_done(record.to_bytes(), DONE)


def _manifest(value: tuple[Manifest, str]) -> Any:
    return in_file("manifest.json", parse)(file_bytes(*value))


def _budget(store: Store) -> tuple[int, int]:
    found = LeakBudget(store.keys, key_id())
    return found.used(), found.limit()


def _index(store: Store) -> list[Any]:
    return [piece.to_dict("list") for piece in iter_index(store=store, gallery=GALLERY, version=VERSION)]


def _plans(file: Path) -> Any:
    """Read plans from a store that holds nothing else."""
    store = Store(file.parent / "store")
    store.plans(GALLERY).parent.mkdir(parents=True)
    file.rename(store.plans(GALLERY))
    return read_plans(store=store, gallery=GALLERY)


def _runs(file: Path) -> Any:
    folder = file.parent / "4_protected" / GALLERY / key_id() / VERSION
    folder.mkdir(parents=True)
    (file.parent / "1_index" / GALLERY / VERSION).mkdir(parents=True)
    file.rename(folder / "00000.timing.json")
    return read_runs(store=Store(file.parent), gallery=GALLERY)


def _unsigned(end: str, read: Any) -> Parse:
    """Return a parser of a signed record whose signature is not looked at."""

    def parse_file(store: Store) -> Any:
        return read(read_signed(store.root / name_of(end), mac_key=None, label="") or {})

    return in_store(end, parse_file)


def _policy(content: dict[str, Any]) -> PromotionPolicy:
    return PromotionPolicy.model_validate(content["policy"])


def _samples(data: bytes) -> Any:
    return list(samples_of(io.BytesIO(data), Path("00000.tar")))


def _label(data: bytes) -> Any:
    return stored_of("image", {"png": encoded("PNG"), "json": data}).nonce


def _lock(data: bytes) -> Any:
    holder = holder_of((data, Seen(etag="x", size=len(data), modified=0.0, now=1.0, sha256="")))
    return holder and described(holder)


def _signed(read: Any) -> Any:
    def read_it(store: Store) -> Any:
        with with_passphrase():
            return read(store)

    return read_it


# Whatever they hold, what is not signed is refused.
SIGNED: Final = ("manifest", "current", "policy", "erased persons", "rotation plan", "drill", "signed list")
PARSERS: Final = (
    Parser("manifest", stored("manifest.json"), in_file("manifest.json", parse), _manifest),
    Parser("done file", stored("done.json"), lambda data: parse_done(data, DONE), _done),
    Parser("current", stored("current.json"), in_store("current.json", lambda store: read_history(
        store=store, gallery=GALLERY, mac_key=None)), same_record),
    Parser("key log", stored("log.jsonl"), in_file("log.jsonl", verify_log)),
    Parser("public record of a key", stored("KEY.json"), in_store("KEY.json", lambda store: [
        record.public() for record in KeyStore(store.keys).list()])),
    Parser("leak budget", stored("KEY.budget.json"), in_store("KEY.budget.json", _budget)),
    Parser("run record", stored("run.json"), in_file("run.json", read_run), same_record),
    Parser("policy", stored("policy.json"), _unsigned("policy.json", _policy), same_record, UNSIGNED),
    Parser("rotation plan", stored("rotation.json"), _unsigned("rotation.json", RotationPlan.model_validate),
           same_record, UNSIGNED),
    Parser("drill", stored("summary.json"), _unsigned("summary.json", lambda content: parse_drill(
        content, gallery=GALLERY, version=VERSION)), same_record),
    Parser("index", stored("photos.parquet"), in_store("photos.parquet", _index), slow=True),
    Parser("tar of a shard", stored("00000.tar"), _samples),
    Parser("label of a sample", lambda: [b'{"nonce": "v0001/a/b", "person": "x"}'], _label),
    Parser("plans", lambda: [PLAN, PLAN * 3], in_file("plans.jsonl", _plans)),
    Parser("timing", lambda: [TIMING], in_file("timing.json", _runs)),
    Parser("lock of machines", lambda: [LOCK], _lock),
    *(Parser(f"signed {name}", stored(end), in_store(end, _signed(read)))
      for name, (end, read) in RECORDS.items() if name in SIGNED),
)  # fmt: skip
