"""Rotations and nights of a small gallery through the real flows, and what is left of its keys and versions."""

import pandas as pd

from avih.gallery import read_history
from avih.keys import KeyStore, Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from small_rotation import ATTACK, GATE
from tasks import opened


def rotate(made, **more: object):
    from flows.rotate import rotate_keys

    opened.forget()
    arguments = {"store": str(made.store), "gallery": "people", "attack": ATTACK, "gate": GATE} | more
    return rotate_keys(**arguments)


def nightly(made):
    from flows.nightly import nightly_reprotect

    opened.forget()
    return nightly_reprotect(store=str(made.store), gallery="people")


def history(made):
    mac_key = Vault(made.store / "3_keys").mac_key()
    return read_history(store=Store(made.store), gallery="people", mac_key=mac_key)


def states(made) -> dict[str, str]:
    return {record.key_id: str(record.state) for record in KeyStore(made.store / "3_keys").list()}


def pictures(made, version: str, key_id: str) -> pd.DataFrame:
    folder = made.store / "4_protected" / "people" / key_id / version
    return pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))]).set_index("image_id")


def is_whole(made, version: str, key_id: str) -> bool:
    return not verify_gallery(store=Store(made.store), gallery="people", version=version, key_id=key_id,
                              mac_key=Vault(made.store / "3_keys").mac_key())  # fmt: skip
