"""A gallery whose store lies on S3: made on one machine, verified, drilled and gone on with on another."""

import json
import shutil

import pytest
from prefect.settings import PREFECT_API_URL

import flows.nightly
import flows.run_gallery
from avih.datasets.synthetic import SyntheticFaces
from avih.errors import StoreUnreachable
from avih.keys import find_passphrase
from avih.mirror.names import is_shared
from avih.mirror.seam import copy_of
from avih.naming import Store
from command import PASSPHRASE, call
from s3_server import BUCKET, CREDENTIALS, client
from small_audit import light_settings
from small_methods import RECOGNISER
from small_remote import Shared
from tasks import opened
from tasks.drill_gallery import drill_gallery
from tasks.evaluate_shard import evaluate_shard
from tasks.freshness import freshened
from tasks.promotion import current_version
from tasks.run_record import load_run, save_run
from tasks.summarise_gallery import summarise_gallery
from tasks.verify_store import verify_store
from tasks.worker_probe import _answer, mark_in_store
from unorchestrated import without_prefect

SECRETS = (PASSPHRASE, CREDENTIALS["AWS_SECRET_ACCESS_KEY"], CREDENTIALS["AWS_ACCESS_KEY_ID"])


def files_of(store: Store) -> dict[str, bytes]:
    found = {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file()
    }
    return {name: data for name, data in found.items() if is_shared(name)}


def filled(shared: Shared, store: Store, leave_out: tuple[str, ...] = ()) -> None:
    """Bring a store from a folder to S3, as ``aws s3 sync`` does."""
    for name, data in files_of(store).items():
        if not name.startswith(leave_out):
            client(shared.server.url).put_object(Bucket=BUCKET, Key=f"{shared.prefix}/{name}", Body=data)


def run(shared: Shared, light):
    opened.forget()
    with without_prefect():
        return flows.run_gallery.run_gallery(store=shared.address, gallery="people", source=str(light.photos),
                                             settings=light_settings(), recogniser=RECOGNISER)  # fmt: skip


def verified(store: Store):
    opened.forget()
    return verify_store(store=store, passphrase=find_passphrase())


def test_a_run_of_the_command_line_is_there_whole_for_another_machine(shared, prefect_server, tmp_path):
    """The whole job as people start it, at an address; then everything from a machine that has nothing of it."""
    environment = shared.environment("a") | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "OMP_NUM_THREADS": "1",
    }
    made = call("run", "--source", "synthetic", "--recogniser", "synthetic", "--method", "lie", "--limit", "2",
                "--shard-size", "2", "--gallery", "people", "--store", shared.address, "--json",
                **environment)  # fmt: skip
    assert made.returncode == 4, made.stderr  # pictures of this method do not match, by design
    assert json.loads(made.stdout)["images"]["failed"] == 0
    a, b = shared.find("a"), shared.open("b")
    assert files_of(a) == shared.objects()  # nothing was forgotten, and nothing went that stays here
    done = verified(b)
    assert done.ok and done.checked["protected shard"] == 1
    shown = call("gallery", "show", "people", "--store", shared.address, **shared.environment("c"))
    assert shown.returncode == 0 and "v0001" in shown.stdout, shown.stderr
    everything = [made.stdout, made.stderr, shown.stdout, shown.stderr]
    everything += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    everything += [data.decode(errors="replace") for data in shared.objects(locks=True).values()]
    assert not [secret for secret in SECRETS if any(secret in text for text in everything)]


def test_another_machine_drills_and_makes_the_next_night(shared, light, tmp_path):
    """Keys, originals and the work of unchanged photos come from S3; nobody else has them."""
    filled(shared, light.store)
    b = shared.open("b")
    shutil.copytree(light.photos, tmp_path / "photos")
    SyntheticFaces(persons=1, photos_per_person=1, first_person=77).write(tmp_path / "photos")
    record = load_run(store=b, gallery="people").model_copy(update={"source": str(tmp_path / "photos")})
    save_run(record, store=b)
    assert record.place(b).store == shared.address
    opened.forget()
    drilled = drill_gallery(
        place=record.place(b), key_id=record.key_id, recovery="inverse", sample=2, threshold=1
    )
    assert drilled.passed and drilled.compared == 2
    with without_prefect():
        night = flows.nightly.nightly_reprotect(store=shared.address, gallery="people")
    assert night.added == 1 and night.version == "v0002"
    a = shared.open("a")
    assert current_version(a, "people").version == "v0002"
    done = verified(a)
    assert done.ok and not done.unchecked, done


def test_faces_in_clear_stay_on_the_machine_that_made_them(shared, light):
    filled(shared, light.store)  # in a folder, a signed list names the owner's sheet
    sheet = f"5_evaluated/people/{light.key_id}/v0001/owner/contact_sheet.png"
    assert (light.store.root / sheet).exists() and sheet not in shared.objects()
    b = shared.open("b")
    done = verified(b)
    assert done.ok and not done.unchecked, done
    place = load_run(store=light.store, gallery="people").place(b)
    made = summarise_gallery(place=place, key_id=light.key_id, shards=[0, 1], recovery="inverse",
                             settings=light_settings().evaluate, lpips_reason=None)  # fmt: skip
    assert made.owner_contact_sheet == str(b.root / sheet) and (b.root / sheet).exists()
    assert sheet not in shared.objects()
    lists = [data.decode() for name, data in shared.objects().items() if "/signed/" in name]
    assert lists and not [text for text in lists if "/owner/" in text]
    assert verified(b).ok and verified(shared.open("a")).ok


def test_a_lost_line_costs_nothing_and_the_bytes_are_those_of_a_store_in_a_folder(shared, light):
    """The store is lost in the middle of the protected shards; the next run ends as in a folder."""
    protected = f"4_protected/people/{light.key_id}/v0001"
    filled(shared, light.store, leave_out=("4_protected", "5_evaluated"))
    a = shared.open("a")
    place = f"PUT /{BUCKET}/{shared.prefix}/{protected}"
    shared.line.before = lambda request: request == f"{place}/00001.parquet"
    with pytest.raises(StoreUnreachable, match=r"write 4_protected.*00001\.parquet"):
        run(shared, light)
    kept = {path.name for path in (a.root / protected).glob("00001.*")}
    assert {"00001.tar", "00001.parquet", "00001.done.json"} <= kept
    assert f"{protected}/00001.done.json" not in shared.objects()
    shared.line.mend()
    again = run(shared, light)
    assert again.shards_made == 0  # what was kept was sent, not made again
    assert [one.rpartition(".")[2] for one in shared.line.requests if one.startswith(f"{place}/00001.")][:2] == [
        "parquet", "json",
    ]  # fmt: skip
    ours, theirs = shared.objects(), files_of(light.store)
    for name in [name for name in theirs if name.startswith(protected) and "timing" not in name]:
        assert ours[name] == theirs[name], name
    assert not copy_of(a.root).ledger.owed()
    assert verified(shared.open("b")).ok


def test_a_worker_on_another_machine_sees_the_store_and_opens_its_key(shared, light):
    filled(shared, light.store)
    asked = {"store": shared.address, "key_id": light.key_id, "files": (), "api": None}
    with mark_in_store(shared.open("a")) as mark:
        shared.find("b")
        answer = _answer(asked | mark)
        assert answer["sees_store"] and answer["writes_store"] and answer["key"] == "opened"
        assert not _answer(asked | mark | {"content": "another"})["sees_store"]
        assert not _answer(asked | mark | {"store": f"{shared.address}-other"})["sees_store"]
    assert not [name for name in shared.objects(locks=True) if "probe" in name]


def test_a_shard_of_a_task_is_all_that_a_new_worker_fetches(shared, light):
    filled(shared, light.store, leave_out=("5_evaluated", "4_protected/people/current.json"))
    b = shared.find("b")
    opened.forget()
    arguments = {"place": load_run(store=light.store, gallery="people").place(b), "key_id": light.key_id,
                 "number": 1, "recovery": "inverse", "lpips_backbone": None}  # fmt: skip
    assert freshened(evaluate_shard)(**arguments).made
    assert not list(b.root.rglob("00000.*"))
    assert shared.asked("GET", ".tar") == 2  # one of the originals, one of the protected pictures
    assert f"5_evaluated/people/{light.key_id}/v0001/00001.done.json" in shared.objects()
    assert freshened(evaluate_shard)(**arguments | {"place": arguments["place"].model_copy()}).made is False


def test_two_machines_on_one_gallery_are_told_apart(shared, light):
    from tasks.gallery_lock import GalleryBusy, gallery_lock

    filled(shared, light.store)
    with gallery_lock(shared.open("a"), "people", purpose="nightly re-protection"):
        shared.find("b")
        with pytest.raises(GalleryBusy, match="nightly re-protection by process"):
            run(shared, light)
