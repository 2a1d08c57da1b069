"""Try a key in the activation gate, and activate it if it passes."""

from typing import cast

from avih.errors import GateRefused
from avih.key_gate import GateFigures, GateKey, GateSettings, PairFigure, judge, measure
from avih.keys import KeyRecord, KeyStore, State
from avih.keys.states import check_actor, check_transition
from avih.naming import Store
from avih.settings import Recovery
from tasks import opened
from tasks.progress import advance, begin
from tasks.records import RecogniserChoice, Record

# The bundled recogniser of drawn faces: the gate tries keys, not recognisers, and must run without any weights.
GATE_RECOGNISER = RecogniserChoice(card="synthetic")
GATE_SETTINGS = GateSettings()
LIVE = (State.ACTIVE, State.SUSPENDED)


class GatePair(Record):
    """What one key recovers of what another protects."""

    protecting: str
    recovering: str
    ssim: float
    advantage: float


class GateRecord(Record):
    """How a key did in the activation gate."""

    key_id: str
    passed: bool
    ssim_d: float
    ssim_d_limit: float
    advantage_limit: float
    worst_pair: GatePair | None
    pairs: tuple[GatePair, ...]
    reasons: tuple[str, ...]


def check_key(*, store: str, key_id: str, settings: GateSettings = GATE_SETTINGS) -> GateRecord:
    """Measure a key against itself and against every live key; changes nothing.

    Args:
        store: root of the store.
        key_id: the key, or the beginning of its id; any state but destroyed.
        settings: how to try it, and the limits.

    Raises:
        KeyRefused: the key is destroyed, or the passphrase is missing or wrong.
        IntegrityError: a key file is missing or damaged.
    """
    keys = KeyStore(Store.find(store).keys)
    record = keys.require(key_id, purpose="inspect")
    new = _open(store, record)
    live = [_open(store, other) for other in live_keys(keys, record)]
    begin("gate", settings.images * (1 + len(live)))
    figures = measure(
        new=new,
        live=live,
        recogniser=opened.recogniser(GATE_RECOGNISER, Store.find(store).root),
        settings=settings,
        progress=lambda done: advance("gate", done),
    )
    keyed = frozenset(key.key_id for key in (new, *live) if key.recovery == "keyed")
    return _record(new, figures, judge(figures, key=new, keyed=keyed, settings=settings), settings)


def activate_key(
    *, store: str, key_id: str, actor: str, reason: str, settings: GateSettings = GATE_SETTINGS
) -> GateRecord:
    """Activate a key if it passes the gate.

    A suspended key goes through the gate as well: other keys may have become live while it rested. Limits
    looser than the defaults are said in the log.

    Raises:
        GateRefused, KeyRefused: the gate, or the key's state, refuses; the log is left as it was.
        UsageError: no such key, or actor or reason is empty.
    """
    check_actor(actor=actor, reason=reason)
    keys = KeyStore(Store.find(store).keys)
    record = keys.show(key_id)
    check_transition(record.key_id, record.state, State.ACTIVE)  # said before minutes of work, not after
    gate = check_key(store=store, key_id=record.key_id, settings=settings)
    if not gate.passed:
        raise GateRefused(
            f"Expected key {record.key_id} to pass the activation gate, got: {'; '.join(gate.reasons)}. It "
            f"stays in state {record.state}. Make another key, trained for more steps (avih keys create --steps "
            f"N), and destroy this one (avih keys destroy {record.key_id})."
        )
    loosened = settings.loosened()
    said = f"{reason}; gate loosened: {loosened}" if loosened else reason
    keys.transition(record.key_id, State.ACTIVE, actor=actor, reason=said)
    return gate


def live_keys(keys: KeyStore, new: KeyRecord) -> list[KeyRecord]:
    """Return the keys that a key is measured against; without a generator there is nothing to compare."""
    others = [] if new.architecture == "none" else keys.list()
    return [
        other
        for other in others
        if other.state in LIVE and other.architecture != "none" and other.key_id != new.key_id
    ]


def _open(store: str, record: KeyRecord) -> GateKey:
    key, generator = opened.key(Store.find(store).root, key_id=record.key_id, purpose="inspect")
    return GateKey(
        key_id=key.key_id,
        secret=key.secret.reveal(),
        generator=generator,
        recovery=cast(Recovery, record.recovery),
    )


def _record(key: GateKey, figures: GateFigures, reasons: list[str], settings: GateSettings) -> GateRecord:
    return GateRecord(
        key_id=key.key_id,
        passed=not reasons,
        ssim_d=figures.ssim_d,
        ssim_d_limit=settings.least_ssim_d(key.recovery),
        advantage_limit=settings.foreign_advantage,
        worst_pair=_pair(figures.worst) if figures.worst else None,
        pairs=tuple(_pair(pair) for pair in figures.pairs),
        reasons=tuple(reasons),
    )


def _pair(figure: PairFigure) -> GatePair:
    return GatePair(
        protecting=figure.protecting,
        recovering=figure.recovering,
        ssim=figure.ssim,
        advantage=figure.advantage,
    )
