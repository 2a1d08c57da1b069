"""``python -m benchmarks.defences GALLERY``: what a change of a method is worth, by the lab, before and after.

The faces of a stored gallery are hidden again in memory, by each defence under a new key, and the lab attacks
what comes out as it would attack a stored gallery. docs/lab-notebook.md holds what came of it.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from avih.attack.pairs import Pairs
from avih.errors import AvihError, UsageError
from avih.evaluation.metrics import ssim
from avih.lab.rehearsal import rehearse
from avih.lab.result import AttackEntry, LabResult
from avih.lab.runner import audit
from avih.lab.settings import LabSettings, lab_settings
from avih.lab.subject import Subject
from avih.methods.pipeline import cosines
from avih.naming import Store
from avih.settings import RunSettings, preset
from benchmarks.machine import describe_machine, err, out
from tasks.audit_subject import read_subject
from tasks.run_record import load_run

COLUMNS: Final = ("defence", "attack", "verdict", "identified", "prior", "TAR", "SSIM over prior")
VEIL_ATTACKS: Final = ("veils", "classical", "same_key_network")
FLIP_ATTACKS: Final = ("flips", "classical", "same_key_network")
NETWORKS: Final = ("same_key_network", "cross_key_network", "many_versions")


@dataclass(frozen=True)
class Defence:
    """One way to hide, and by which attacks it is judged.

    Args:
        says: what is different, in a few words.
        method: arguments of :func:`avih.settings.preset`.
        attacks: names of the lab's attacks.
        key: fields of the key's recipe that are different.
        alone: whether each photo has its own veil.
    """

    says: str
    method: Mapping[str, Any]
    attacks: tuple[str, ...]
    key: Mapping[str, Any] | None = None
    alone: bool = False

    def settings(self) -> RunSettings:
        """Return the whole settings."""
        made = preset("fast", **self.method)
        return made.model_copy(update={"key": made.key.model_copy(update=dict(self.key or {}))})


def _veil(**options: Any) -> dict[str, Any]:
    return {"method": "person_veil", "options": options}


PINK: Final = {"start": "pink", "visual_weight": 0.0, "variance_weight": 0.0, "step_size": 0.003}
SMALL_KEY: Final = {"width": 32, "blocks": 4}
DEFENCES: Final[Mapping[str, Defence]] = {
    "veil": Defence("as in the paper, one veil per person", _veil(), VEIL_ATTACKS),
    "veil-alone": Defence("a veil per photo", _veil(), VEIL_ATTACKS, alone=True),
    "veil-noise": Defence(
        "nothing pushes it away from the photo", _veil(visual_weight=0.0), VEIL_ATTACKS, alone=True
    ),
    "veil-pink": Defence("pink start, small steps, nothing pushes", _veil(**PINK), VEIL_ATTACKS, alone=True),
    "veil-pink-shared": Defence("the same, one veil per person", _veil(**PINK), VEIL_ATTACKS),
    "veil-pink-0.1": Defence(
        "pink, a tenth of the photo", _veil(**PINK, alpha=0.1), VEIL_ATTACKS, alone=True
    ),
    "flips": Defence(
        "as in the paper", {"method": "veil_privacy", "options": {"steps": 60}}, FLIP_ATTACKS
    ),
    "flips-noise": Defence(
        "starts from noise: no magnitude is left",
        {"method": "veil_privacy", "options": {"steps": 60, "start": "noise"}}, FLIP_ATTACKS,
    ),
    "unmixed": Defence("a small key of the paper's kind", {"recovery": "unmixed"}, NETWORKS, SMALL_KEY),
    "unmixed-noisy": Defence(
        "noise of up to 16 grey levels in key training", {"recovery": "unmixed"}, NETWORKS,
        SMALL_KEY | {"noise_levels": 16.0},
    ),
}  # fmt: skip


def judged(
    defence: Defence, faces: Pairs, like: Subject, *, settings: LabSettings
) -> tuple[dict[str, Any], LabResult]:
    """Hide faces by a defence and let the lab attack them; return what the owner has of it, and the verdict."""
    chosen = defence.settings()
    began = time.perf_counter()
    subject = rehearse(
        faces, recogniser=like.recogniser, protect=chosen.protect, key=chosen.key, data=like.data,
        settings=settings, alone=defence.alone, tell=_tell,
    )  # fmt: skip
    seconds = (time.perf_counter() - began) / len(faces)
    hidden = subject.pairs
    back = subject.recover(hidden.images, hidden.protected)
    found = cosines(list(hidden.originals), list(hidden.protected), recogniser=like.recogniser)
    figures = {
        "cos": float(np.mean(found)),
        "cos_worst": float(np.min(found)),
        "ssim_e": _mean_ssim(hidden.protected, hidden.originals),
        "ssim_d": _mean_ssim(back, hidden.originals),
        "seconds_per_photo": seconds,
    }
    return figures, audit(subject=subject, settings=settings, names=defence.attacks, tell=_tell).result


def read_gallery(store: Path, gallery: str, *, most: int) -> Subject:
    """Read the faces of a gallery's current version, with its recogniser; the passphrase is found as always."""
    place = Store(store.absolute())
    run = load_run(store=place, gallery=gallery, version=None)
    return read_subject(
        place=run.place(place), key_id=run.key_id, recovery=run.settings.protect.recovery, most=most,
        consenting=False, data=f"faces of gallery {gallery}",
    )  # fmt: skip


def _mean_ssim(first: Any, second: Any) -> float:
    return float(np.mean([ssim(one, other) for one, other in zip(first, second, strict=True)]))


def _tell(text: str) -> None:
    err.print(f"  {text}", markup=False)


def _row(name: str, attack: AttackEntry) -> list[str]:
    shown = [attack.id_rate, attack.prior_id_rate, attack.tar]
    percent = ["-" if value is None else f"{value:.1%}" for value in shown]
    over = "-" if attack.ssim_advantage is None else f"{attack.ssim_advantage:+.3f}"
    best = attack.variants[0].label if attack.variants else attack.note
    return [name, f"{attack.name}: {best}", attack.verdict, *percent, over]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defences", description=__doc__)
    parser.add_argument("gallery", help="Stored gallery whose faces are hidden again.")
    parser.add_argument("--store", type=Path, default=Path("data"), help="Its store.")
    parser.add_argument("--defence", action="append", choices=sorted(DEFENCES), help="By default all.")
    parser.add_argument("--photos", type=int, default=160, help="Most photos; whole persons are taken.")
    parser.add_argument("--profile", default="quick", help="quick or full.")
    parser.add_argument("--json", action="store_true", help="Print only JSON.")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge defences; print a table, or JSON."""
    options = _options(arguments)
    try:
        settings = lab_settings(options.profile)
        like = read_gallery(options.store, options.gallery, most=options.photos)
        rows, found = [], []
        for name in options.defence or list(DEFENCES):
            err.print(f"{name}: {DEFENCES[name].says}", markup=False)
            figures, result = judged(DEFENCES[name], like.pairs, like, settings=settings)
            rows += [_row(name, attack) for attack in result.attacks]
            found.append({"defence": name, "says": DEFENCES[name].says, "owner": figures,
                          "result": result.model_dump(mode="json")})  # fmt: skip
    except (AvihError, UsageError) as error:
        err.print(f"error: {error}", markup=False)
        return 2
    facts = {
        "data": like.data,
        "photos": len(like.pairs),
        "machine": describe_machine(),
        "profile": options.profile,
    }
    if options.json:
        sys.stdout.write(json.dumps(facts | {"defences": found}, indent=1) + "\n")
        return 0
    table = Table(*COLUMNS, title=f"{like.data}, {len(like.pairs)} photos, {options.profile}")
    for row in rows:
        table.add_row(*row)
    out().print(table)
    for one in found:
        out().print(one["defence"], {key: round(value, 4) for key, value in one["owner"].items()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
