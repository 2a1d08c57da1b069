"""A small gallery in memory, under a key made for it, for the lab's attacks: seconds, not minutes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from avih.attack.pairs import Pairs, Pictures
from avih.attack.settings import AttackSettings
from avih.lab.lab import Lab
from avih.lab.rehearsal import rehearse
from avih.lab.scheme import Scheme
from avih.lab.settings import LabLimits, LabSettings
from avih.lab.subject import Subject, draw_parts
from avih.settings import ARCHITECTURE_OF, KeySettings, ProtectSettings
from small_attack import SmallService, small_faces

SMALL = LabSettings(
    limits=LabLimits(originals=0.6),  # faces of 56x48 are hard to tell apart
    network=AttackSettings(
        steps=80, minimum_steps=40, width=8, blocks=1, prior_steps=5, learning_rate=3e-3, control_key_steps=40,
        control_key_width=8, control_steps=20,
    ),
    targets=8, leaks=(4,), most_leaked=16, own_keys=2, many_keys=(1, 2), key_pictures=8, versions=(2,),
    fit_pictures=2, fit_steps=20, seeds=2, shown=2,
)  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "person_veil": {"steps": 10, "photos_per_veil": 6},
    "v_uap": {"steps": 10, "photos_per_veil": 6},
    "veil_privacy": {"steps": 5},
}


class Service(SmallService):
    """The frozen random network of the attack tests, with a name."""

    card = SimpleNamespace(feature_size=32, name="small service")


def protect_settings(method: str, recovery: str) -> ProtectSettings:
    """The recipe of a small gallery."""
    if method == "avih":
        return ProtectSettings(recovery=recovery, steps=12)
    return ProtectSettings(method=method, options=OPTIONS.get(method, {}))


def subject(method: str = "avih", recovery: str = "keyed", *, consenting: bool = True) -> Subject:
    """Forty-eight faces of eight persons, 56x48, hidden by a method under a key of their own."""
    protect = protect_settings(method, recovery)
    key = KeySettings(architecture=ARCHITECTURE_OF[protect.recovery], width=8, blocks=1, steps=60, crop=48)
    return rehearse(
        small_faces(), recogniser=Service(), protect=protect, key=key, data="drawn faces", gallery="people",
        settings=SMALL, consenting=consenting,
    )  # fmt: skip


def _subject(
    pairs: Pairs, nonces: tuple[str, ...], protect: ProtectSettings, key: KeySettings, generator: Any,
    recover: Any, consenting: bool,
) -> Subject:  # fmt: skip
    return Subject(
        gallery="people", version="v0001", pairs=pairs, nonces=nonces, others=None, recogniser=Service(),
        protect=protect, key=key, generator=generator, recover=recover, data="drawn faces", consenting=consenting,
    )  # fmt: skip


def lab_of(subject: Subject, settings: LabSettings = SMALL) -> Lab:
    """A lab about a subject."""
    parts = draw_parts(subject, targets=settings.targets, leaked=settings.most_leaked)
    return Lab(subject, parts, settings, Scheme(subject, settings, lambda text: None), lambda text: None)


def lab_over(
    pairs: Pairs, *, method: str, recovery: str, settings: LabSettings = SMALL,
    others: tuple[tuple[str, ...], Pictures] | None = None,
) -> Lab:  # fmt: skip
    """A lab about pictures that a test hid itself; their owner cannot bring them back."""
    protect = protect_settings(method, recovery)
    key = KeySettings(architecture=ARCHITECTURE_OF[protect.recovery])
    made = _subject(pairs, ("",) * len(pairs), protect, key, None, lambda names, pictures: pictures, False)
    return lab_of(replace(made, others=others), settings)
