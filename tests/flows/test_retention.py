"""Versions that go after a rotation go whole, whatever kills the removal in between."""

from pathlib import Path

import pytest

from avih.atomic import remove_tree
from avih.gallery import History
from avih.naming import Store
from tasks import retention

OLD, NEW = "0123456789abcdef", "fedcba9876543210"


def filled(root: Path) -> Store:
    """Two versions under a key each, with a file in every folder that a version can have."""
    store = Store(root)
    for version, key_id in (("v0001", OLD), ("v0002", NEW)):
        folders = [store.folder(stage, gallery="people", version=version)
                   for stage in ("index", "aligned", "attacked", "audited")]  # fmt: skip
        folders += [store.folder(stage, gallery="people", version=version, key_id=key_id)
                    for stage in ("protected", "evaluated")]  # fmt: skip
        folders += [folders[-1] / "owner"]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "00000.parquet").write_bytes(b"x")
            (folder / "00000.done.json").write_bytes(b"x")
    return store


def killed(monkeypatch: pytest.MonkeyPatch, store: Store, at: int) -> bool:
    """Remove v0001 and die at the n-th moment; tell whether it died."""
    left = [at]

    def moment() -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    def slowly(folder: Path) -> None:
        moment()
        next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()
        moment()
        remove_tree(folder)
        moment()

    monkeypatch.setattr(retention, "remove_tree", slowly)
    try:
        retention.remove_version(store=store, gallery="people", version="v0001")
    except KeyboardInterrupt:
        return True
    return False


def test_a_kill_at_any_removal_is_made_good_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, died = 1, True
    while died:
        store = filled(tmp_path / str(at))
        died = killed(monkeypatch, store, at)
        monkeypatch.setattr(retention, "remove_tree", remove_tree)
        gone = retention.old_versions(
            History(gallery="people"), store.versions("people"), current="v0002", keep=0
        )
        for version in gone:
            retention.remove_version(store=store, gallery="people", version=version)
        left = [path for path in store.root.rglob("*") if "v0001" in path.parts and path.is_file()]
        assert left == [], f"killed at moment {at}"
        assert len(list(store.root.rglob("v0002/*.parquet"))) == 6
        at += 1
    assert at > 15
