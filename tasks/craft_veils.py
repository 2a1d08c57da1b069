"""Protect stage, before the shards: craft the veils that persons of a version have none of yet, and count photos.

One optimisation per person, from all aligned photos of that person in the version; the veil is sealed as soon as
it is there, so a run that was killed goes on with the next person. A veil that is there is used as it is.
"""

import hashlib
import json
import logging
from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from avih.acceleration import for_gradients
from avih.errors import UsageError
from avih.images import to_tensor
from avih.methods.pipeline import Entry, Picture, personal
from avih.methods.registry import pipeline_of
from avih.recognisers import Recogniser
from avih.settings import ProtectSettings
from avih.shards import read_done, read_rows
from avih.veils.veil import Veil
from tasks import opened
from tasks.originals import aligned_address, iter_originals
from tasks.progress import advance, begin
from tasks.protect_shard import protected_address
from tasks.records import Place, Record

logger = logging.getLogger(__name__)

FIELDS = ("image_id", "person", "content_mac")  # of an aligned row: what an Entry holds
NOT_CRAFTING = ("photos_per_veil", "batch_size")  # options that change nothing of a veil


class VeilsMade(Record):
    """How many persons the version shows, how many veils were crafted now, and how many photos go under them."""

    persons: int
    made: int
    photos: int


def craft_veils(*, place: Place, key_id: str, shards: list[int], settings: ProtectSettings) -> VeilsMade:
    """Craft what is missing and let photos under the veils, up to the setting ``photos_per_veil``.

    Raises:
        KeyRefused: the key is not active.
        SettingsMismatch: the veils under this key were crafted with other settings or for another recogniser.
        IntegrityError: a veil or its count was altered.
    """
    if all(read_done(place.folder, protected_address(place, key_id, number)) for number in shards):
        return VeilsMade(persons=0, made=0, photos=0)  # nothing is left to protect
    recogniser = opened.recogniser(place.recogniser, place.folder.root)
    veils = opened.veils(place, key_id=key_id, purpose="protect")
    recipe = _recipe(settings, recogniser)
    rows = _aligned_rows(place, shards)
    persons = personal(Entry(*(str(field) for field in row)) for row in rows[[*FIELDS]].to_numpy().tolist())
    persons.pop("", None)  # a photo of nobody in particular has no veil to go under
    missing = [person for person in persons if not veils.has(person, recipe=recipe)]
    if missing:
        begin("veil", len(missing) * int(settings.options["steps"]))
        logger.warning("%d veils are crafted. %s", len(missing), pipeline_of(settings.method).warning)
    for person in missing:
        photos = _photos(place, rows[rows.person == person]).to(recogniser.device)
        veil = _craft(place, key_id, person, photos, settings, recogniser)
        veils.add(person, veil, recipe=recipe)
    most = int(settings.options["photos_per_veil"])
    counted = [
        veils.admit(person, [one.content_mac for one in photos], most=most)[:most]
        for person, photos in persons.items()
    ]
    return VeilsMade(persons=len(persons), made=len(missing), photos=sum(len(photos) for photos in counted))


def _craft(
    place: Place,
    key_id: str,
    person: str,
    photos: Tensor,
    settings: ProtectSettings,
    recogniser: Recogniser,
) -> Veil:
    """Craft the veil of one person by the method."""
    pipeline = pipeline_of(settings.method)
    if pipeline.craft is None:
        raise UsageError(f"Expected a method with veils, got {settings.method}.")
    key, _ = opened.key(place.folder.root, key_id=key_id, purpose="protect")
    return pipeline.craft(
        photos=photos,
        recogniser=for_gradients(recogniser),
        secret=key.secret.reveal(),
        label=f"{settings.method}/{place.gallery}/{person}",
        settings=pipeline.options.model_validate(settings.options),
        progress=lambda step, loss: advance("veil"),
    )


def _photos(place: Place, rows: pd.DataFrame) -> Tensor:
    """Open the aligned photos of some rows, in the order of their image ids: ``(photos, 3, H, W)`` in [0, 1]."""
    found: dict[str, Picture] = {}
    for number, group in rows.groupby("shard", sort=True):
        found |= dict(iter_originals(place, int(str(number)), images=frozenset(group.image_id)))
    return to_tensor([found[image] for image in sorted(found)])


def _aligned_rows(place: Place, shards: list[int]) -> pd.DataFrame:
    tables = []
    for number in shards:
        table = read_rows(place.folder, aligned_address(place, number))
        kept = table[table.status == "aligned"][[*FIELDS]]
        tables.append(kept.assign(person=kept.person.fillna(""), shard=number))
    return pd.concat(tables, ignore_index=True)


def _recipe(settings: ProtectSettings, recogniser: Recogniser) -> bytes:
    """Name how veils are crafted: method, options and recogniser."""
    chosen: Mapping[str, object] = {
        name: value for name, value in settings.options.items() if name not in NOT_CRAFTING
    }
    text = json.dumps([settings.method, recogniser.fingerprint, chosen], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()
