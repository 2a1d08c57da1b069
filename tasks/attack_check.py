"""Attack check of a rotation: attack the old key, judge, and keep the numbers; pictures stay in memory."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from avih import __version__
from avih.atomic import atomic_file, write_bytes
from avih.attack.check import check_attack, planned_units
from avih.attack.control import unmixed_sample
from avih.attack.pairs import Pairs
from avih.attack.plot import curve_figure, curve_table
from avih.attack.result import AttackResult
from avih.attack.second import Embed, network_features
from avih.attack.settings import AttackSettings
from avih.device import placed
from avih.errors import IntegrityError, UsageError
from avih.evaluation.lpips_metric import Lpips
from avih.naming import Store
from avih.recognisers import Recogniser
from avih.settings import Recovery
from tasks import opened
from tasks.attack_pairs import read_pairs, shards_digest
from tasks.progress import advance
from tasks.records import Place, RecogniserChoice, Record
from tasks.signed_json import ATTACK_LABEL, read_signed, write_signed
from tasks.signed_list import list_files
from tasks.unchanged import unchanged

FILES = ("attack.json", "curve.png", "curve.parquet")


class AttackRecord(AttackResult, Record):
    """What the attack check of a version found."""


def attack_check(
    *,
    old: Place | None,
    old_key: str | None,
    new: Place,
    new_key: str,
    recovery: Recovery,
    settings: AttackSettings,
    second: RecogniserChoice | None = None,
    lpips_backbone: str | None = None,
) -> AttackRecord:
    """Attack the old key and write the figures beside the new version, unless that was done already.

    Args:
        old: version under the old key; without one the new key is attacked itself.
        old_key: id of the old key.
        new: version under the new key.
        new_key: id of the new key.
        recovery: of both versions.
        settings: how hard to try, and the limits.
        second: the second recogniser; by default a classical one is fitted on the originals.
        lpips_backbone: file with AlexNet's weights.

    Raises:
        UsageError: too few images, or the second recogniser is the service model.
        IntegrityError: a stored file is not the one that was written.
        VersionChanged: somebody was erased from the new version meanwhile.
    """
    units = _Units(planned_units(settings, recovery=recovery))
    place, key_id = (old, old_key) if old and old_key else (new, new_key)
    stored = shards_digest(new, new_key)
    parts = [shards_digest(place, key_id), stored]
    inputs = _inputs(parts, new, settings, second, lpips_backbone)
    folder = new.folder.attacked(gallery=new.gallery, version=new.version)
    mac_key = opened.vault(new.folder.root).mac_key()
    if _made_from(folder, mac_key) == inputs:
        units.finish()
        return read_attack(store=new.folder, gallery=new.gallery, version=new.version)
    recogniser = opened.recogniser(new.recogniser, new.folder.root)
    lpips = Lpips.load(Path(lpips_backbone) if lpips_backbone else None)
    leaked = read_pairs(place=place, key_id=key_id, most=settings.most_images, other=new)
    renewed = read_pairs(place=new, key_id=new_key, most=settings.most_images) if key_id != new_key else None
    _check_sizes(leaked, renewed)
    result = check_attack(
        old=leaked,
        new=renewed,
        recovery=recovery,
        settings=settings,
        recogniser=recogniser,
        generator=_known_generator(place, key_id, recovery),
        sample=lambda pairs: unmixed_sample(
            pairs, recogniser=recogniser, settings=settings, progress=units.advance
        ),
        second=_second(second, new, recogniser),
        lpips=lpips if isinstance(lpips, Lpips) else None,
        progress=units.advance,
    )
    units.finish()
    facts = {"gallery": new.gallery, "version": new.version, "key_id": new_key, "leaked_version": place.version,
             "leaked_key_id": key_id, "recovery": recovery}  # fmt: skip
    with unchanged(new, new_key, stored_sha256=stored, purpose="an attack check's verdict"):
        _write(folder, result, settings, facts=facts, inputs=inputs, mac_key=mac_key)
        list_files(
            store=new.folder, gallery=new.gallery, version=new.version, what="attacked",
            files=[folder / name for name in FILES], mac_key=mac_key,
        )  # fmt: skip
    return AttackRecord(**result.model_dump())


def read_attack(*, store: Store, gallery: str, version: str) -> AttackRecord:
    """Read what the attack check of a version found; it decides whether a rotation goes live.

    Raises:
        UsageError: there was none.
        IntegrityError: the file is damaged, was altered, is not signed, or belongs to another version.
    """
    path = store.attacked(gallery=gallery, version=version) / FILES[0]
    content = read_signed(path, mac_key=opened.vault(store.root).mac_key(), label=ATTACK_LABEL)
    if content is None:
        raise UsageError(
            f"Expected an attack check of {gallery} {version}, got none. Run the flow attack-check."
        )
    if (content.get("gallery"), content.get("version")) != (gallery, version):
        raise IntegrityError(
            f"Expected the attack check of {gallery} {version} in {path}, got that of another version. Run it "
            "again."
        )
    try:
        return AttackRecord.model_validate(content["result"])
    except (KeyError, ValidationError):
        raise IntegrityError(
            f"Expected an attack check in {path}, got a damaged file. Run it again."
        ) from None


class _Units:
    """Tells progress; what training saved by stopping early is told at the end."""

    def __init__(self, total: int) -> None:
        self.left = total

    def advance(self, done: int) -> None:
        advance("attack", done)
        self.left -= done

    def finish(self) -> None:
        self.advance(max(0, self.left))


def _inputs(
    digests: list[str],
    place: Place,
    settings: AttackSettings,
    second: RecogniserChoice | None,
    lpips_backbone: str | None,
) -> str:
    parts: list[Any] = [*digests, settings.digest(), __version__]
    parts += [place.recogniser.model_dump(), second and second.model_dump(), lpips_backbone]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _made_from(folder: Path, mac_key: bytes) -> str | None:
    """Return what a check was made from; None where nothing that this store signed says so: it is made again."""
    try:
        content = read_signed(folder / FILES[0], mac_key=mac_key, label=ATTACK_LABEL) or {}
    except (OSError, IntegrityError):
        return None
    return str(content.get("inputs_sha256"))


def _check_sizes(old: Pairs, new: Pairs | None) -> None:
    if new is not None and new.originals.shape[1:] != old.originals.shape[1:]:
        raise UsageError(
            f"Expected both versions to hold pictures of one size, got {old.originals.shape[1:3]} and "
            f"{new.originals.shape[1:3]}: an attack on one says nothing of the other."
        )


def _known_generator(place: Place, key_id: str, recovery: Recovery) -> nn.Module | None:
    """Open the key's generator where it is no secret."""
    if recovery != "keyed":
        return None
    generator = opened.key(place.folder.root, key_id=key_id, purpose="inspect")[1]
    return placed(generator, "cpu")  # where attack networks are trained


def _second(choice: RecogniserChoice | None, place: Place, service: Recogniser) -> Embed | None:
    if choice is None:
        return None
    return network_features(opened.another_recogniser(choice, place.folder.root, service=service))


def _write(
    folder: Path,
    result: AttackResult,
    settings: AttackSettings,
    *,
    facts: dict[str, Any],
    inputs: str,
    mac_key: bytes,
) -> None:
    """Write curve and chart, and the figures last: with them the check is done."""
    drawn = io.BytesIO()
    figure = curve_figure(result, gallery=facts["gallery"], settings=settings)
    figure.savefig(drawn, format="png", metadata={"Software": None})
    write_bytes(folder / "curve.png", drawn.getvalue())
    with atomic_file(folder / "curve.parquet") as temporary:
        curve_table(result).to_parquet(temporary, index=False)
    content = facts | {
        "result": result.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "inputs_sha256": inputs,
        "code_version": __version__,
    }
    write_signed(folder / FILES[0], content, mac_key=mac_key, label=ATTACK_LABEL)
