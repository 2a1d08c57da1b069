"""Every night: only what changed is protected, the rest stays byte for byte, and a bad night changes nothing."""

import json
import os
import subprocess
import sys
import tarfile

import pandas as pd
import pytest

from avih.atomic import temporary_name
from avih.datasets.synthetic import SyntheticFaces
from avih.errors import KeyRefused, QualityBelowLimits
from avih.gallery import read_history
from avih.index_file import read_index
from avih.keys import KeyStore, Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from tasks import opened
from tasks.gallery_lock import gallery_lock
from tasks.run_record import load_run, save_run


def nightly(made):
    from flows.nightly import nightly_reprotect

    opened.forget()
    return nightly_reprotect(store=str(made.store), gallery="people")


def current(made) -> str:
    mac_key = Vault(made.store / "3_keys").mac_key()
    return read_history(store=Store(made.store), gallery="people", mac_key=mac_key).current.version


def stored(made, version: str) -> dict[str, tuple[bytes, bytes]]:
    """Picture and label of every protected image of a version."""
    found = {}
    for path in sorted((made.protected.parent / version).glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        found |= {n[:-4]: (d, files[n[:-4] + ".json"]) for n, d in files.items() if n.endswith(".png")}
    return found


def rows(made, version: str) -> pd.DataFrame:
    folder = made.protected.parent / version
    return pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))]).set_index("image_id")


def snapshot(made) -> dict[str, bytes]:
    return {str(p.relative_to(made.store)): p.read_bytes()
            for p in made.store.glob("[1-5]_*/**/*") if p.is_file() and p.name != ".lock"}  # fmt: skip


def change_source(made) -> tuple[str, str]:
    """Two new photos, one changed, one removed; returns what the changed and the removed one are called."""
    SyntheticFaces(persons=1, photos_per_person=2, first_person=61).write(made.source)
    changed, removed = sorted((made.source / "person_0041").glob("*.png"))[:2]
    changed.write_bytes(next((made.source / "person_0042").glob("*.png")).read_bytes())
    removed.unlink()
    index = read_index(store=Store(made.store), gallery="people", version="v0001").set_index("path").image_id
    return tuple(index[str(path.relative_to(made.source))] for path in (changed, removed))


def test_a_night_without_changes_does_nothing_and_says_so(copy):
    before = snapshot(copy)
    done = nightly(copy)
    assert (done.changed_anything, done.version, done.made) == (False, "v0001", None)
    after = snapshot(copy)
    assert after.keys() - before.keys() == {"1_index/people/night.json"}
    assert after | before == after


def test_only_what_changed_is_protected_and_the_rest_stays_byte_for_byte(copy):
    changed, removed = change_source(copy)
    before = stored(copy, "v0001")
    done = nightly(copy)
    assert (done.version, done.added, done.changed, done.removed) == ("v0002", 2, 1, 1)
    assert current(copy) == "v0002"
    after = stored(copy, "v0002")
    kept = before.keys() - {changed, removed}
    assert len(kept) >= 12 and all(after[name] == before[name] for name in kept)
    assert removed not in after and after[changed] != before[changed]
    assert {name for name in after if name not in before} == {
        name for name in after if name.startswith("person_0061")
    }
    # New pictures have nonces of their own version, the kept ones those they had.
    versions = {name: json.loads(label)["nonce"].split("/")[0] for name, (_, label) in after.items()}
    assert all(versions[name] == "v0001" for name in kept) and versions[changed] == "v0002"
    assert stored(copy, "v0001") == before
    for version in ("v0001", "v0002"):
        assert not verify_gallery(
            store=Store(copy.store), gallery="people", version=version, key_id=copy.result.key_id,
            mac_key=Vault(copy.store / "3_keys").mac_key(),
        )  # fmt: skip
    table = rows(copy, "v0002")
    assert len(table) == sum(done.made.counts.values()) == len(rows(copy, "v0001")) + 1
    assert nightly(copy).changed_anything is False


def test_below_the_limits_the_old_version_keeps_serving(copy):
    record = load_run(store=Store(copy.store), gallery="people")
    limits = record.settings.evaluate.limits.model_copy(update={"ssim_d_min": 0.9999})
    evaluate = record.settings.evaluate.model_copy(update={"limits": limits})
    settings = record.settings.model_copy(update={"evaluate": evaluate})
    save_run(record.model_copy(update={"settings": settings}), store=Store(copy.store))
    change_source(copy)
    with pytest.raises(QualityBelowLimits, match=r"v0002 does not go live: SSIM_d .* v0001 keeps serving"):
        nightly(copy)
    assert current(copy) == "v0001"
    # The next night works on the same version, and it goes live once the reason is gone.
    save_run(record, store=Store(copy.store))
    begun = load_run(store=Store(copy.store), gallery="people", version="v0002")
    save_run(begun.model_copy(update={"settings": record.settings}), store=Store(copy.store))
    assert nightly(copy).version == "v0002" == current(copy)


def test_a_source_that_lost_most_photos_does_not_go_live(copy):
    for person in sorted(copy.source.glob("person_*"))[:4]:
        for path in person.iterdir():
            path.unlink()
    with pytest.raises(QualityBelowLimits, match="gone or changed"):
        nightly(copy)
    assert current(copy) == "v0001"


def test_a_key_that_may_not_protect_stops_the_night_and_nothing_else(copy):
    keys = KeyStore(copy.store / "3_keys")
    keys.transition(copy.result.key_id, "deactivated", actor="test", reason="end of life")
    change_source(copy)
    with pytest.raises(KeyRefused, match="deactivated"):
        nightly(copy)
    assert current(copy) == "v0001"


def test_two_jobs_on_one_gallery_are_refused_and_the_first_tidies_up(copy):
    code = "import sys; from pathlib import Path; from avih.naming import Store\n"
    code += "from tasks.gallery_lock import GalleryBusy, gallery_lock\n"
    code += "try:\n    with gallery_lock(Store(Path(sys.argv[1])), 'people', purpose='x'): print('free')\n"
    code += "except GalleryBusy as busy: print(busy)"
    ask = [sys.executable, "-c", code, str(copy.store)]
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    name = temporary_name(copy.store / "5_evaluated" / "people" / "timing.json")
    left = name.with_name(name.name.replace(f"-{os.getpid()}-", f"-{int(dead.stdout)}-"))
    left.write_bytes(b"of a job that was killed")
    with gallery_lock(Store(copy.store), "people", purpose="a test"):
        assert not left.exists()
        busy = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        with gallery_lock(Store(copy.store), "people", purpose="a flow inside"):
            pass
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == busy
    assert "a test by process" in busy
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "free\n"
