"""Controls of every audit: what must be recognised is, what cannot be is not, and the attack itself works."""

from collections.abc import Callable, Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from skimage.filters import gaussian

from avih.attack.pairs import Pairs, Pictures
from avih.lab.attack import Guess
from avih.lab.gauge import Gauge
from avih.lab.lab import Lab, Lesson
from avih.lab.result import ControlResult, Measured

BLUR_SIGMA = 4.0  # pixels: nobody is recognised by eye at 112x96
Hide = Callable[[Pictures], Pictures]


def run_controls(lab: Lab, gauge: Gauge) -> Iterator[ControlResult]:
    """Run all controls."""
    yield _originals(lab, gauge)
    lab.tell("controls: networks on AES noise, on a constant mask and on blurring")
    # All networks at once: side by side they take less time; each control takes its own.
    lab.train_all([Lesson(_hidden(lab.leaked, hide)) for hide in (_noise_for, _masked, _blurred)])
    yield _noise(lab, gauge)
    yield _owner(lab, gauge)
    for name, hide in (("weak scheme: constant additive mask", _masked), ("weak scheme: blurring", _blurred)):
        yield _weak(lab, gauge, name, hide)


def _originals(lab: Lab, gauge: Gauge) -> ControlResult:
    figures = _measured(lab, gauge, Guess("originals", lab.targets, lab.targets.originals))
    wanted = gauge.limits.originals
    rate = figures.id_rate or 0.0
    return ControlResult(
        name="originals", ok=rate >= wanted, expected=f"named in {wanted:.0%} of the cases or more",
        got=f"{rate:.0%}", figures=figures,
    )  # fmt: skip


def _noise(lab: Lab, gauge: Gauge) -> ControlResult:
    """Attack AES-CTR noise in place of the pictures: whatever comes out owes nothing to them."""
    leaked, targets = (_hidden(pairs, _noise_for) for pairs in (lab.leaked, lab.targets))
    attack = lab.train(leaked)
    figures = _measured(lab, gauge, lab.network_guess(attack, "AES noise", targets, pairs=len(leaked)))
    return ControlResult(
        name="AES noise", ok=figures.level == "pass", expected="no better than the prior",
        got=_said(figures), figures=figures,
    )  # fmt: skip


def _hidden(pairs: Pairs, hide: Hide) -> Pairs:
    return pairs.with_inputs(hide(pairs.originals))


def _noise_for(pictures: Pictures) -> Pictures:
    key = np.random.default_rng(len(pictures)).bytes(32)  # noise is all that it has to be
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(pictures.size))
    return np.frombuffer(stream, dtype=np.uint8).reshape(pictures.shape)


def _owner(lab: Lab, gauge: Gauge) -> ControlResult:
    """What the owner of the key gets back: the upper bound of every attack."""
    targets = lab.targets
    back = lab.subject.recover(targets.images, targets.protected)
    figures = _measured(lab, gauge, Guess("owner of the key", targets, back))
    originals = gauge.scores(targets.originals, targets).id_rate or 0.0
    rate = figures.id_rate or 0.0
    return ControlResult(
        name="owner's key", ok=rate >= 0.8 * originals and figures.ssim_advantage > 0,
        expected="named nearly as often as originals", got=_reached(figures), figures=figures,
    )  # fmt: skip


def _weak(lab: Lab, gauge: Gauge, name: str, hide: Hide) -> ControlResult:
    """Attack a scheme that is known to be weak with the network of the first attack: it must fall."""
    leaked, targets = (_hidden(pairs, hide) for pairs in (lab.leaked, lab.targets))
    attack = lab.train(leaked)
    figures = _measured(lab, gauge, lab.network_guess(attack, name, targets, pairs=len(leaked)))
    return ControlResult(
        name=name, ok=figures.level == "fail", expected="must fail", got=_said(figures), figures=figures
    )


def _masked(pictures: Pictures) -> Pictures:
    """Add one noise picture to all, and halve: 7 bits of the picture stay, under a constant."""
    mask = np.random.default_rng(7).integers(0, 256, size=pictures.shape[1:])
    return ((pictures.astype(np.int64) + mask) // 2).astype(np.uint8)


def _blurred(pictures: Pictures) -> Pictures:
    options = {"sigma": BLUR_SIGMA, "channel_axis": 2, "preserve_range": True}
    blurred = [gaussian(one, **options) for one in pictures]  # type: ignore[no-untyped-call]
    return np.stack(blurred).round().astype(np.uint8)


def _measured(lab: Lab, gauge: Gauge, guess: Guess) -> Measured:
    return gauge.measure(guess, blank=lab.blank, kind="key")


def _said(figures: Measured) -> str:
    return f"{figures.level}: {_reached(figures)}"


def _reached(figures: Measured) -> str:
    named = "-" if figures.id_rate is None else f"{figures.id_rate:.0%}"
    return f"named {named}, SSIM {figures.ssim_advantage:+.2f} over the prior"
