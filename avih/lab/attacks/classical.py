"""Attack 9: filters and restoration without any key; and pixel statistics, which are no evidence of security."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter  # type: ignore[import-untyped]
from scipy.signal import fftconvolve  # type: ignore[import-untyped]
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, wiener

from avih.attack.pairs import Pictures
from avih.attack.prior import noise_like
from avih.lab.attack import AttackFacts, Finding, Guess, Result
from avih.lab.lab import Lab
from avih.lab.tools.statistics import pixel_statistics

FACTS: Final = AttackFacts(
    name="classical",
    title="Filters, denoising and blind restoration",
    claim="Veil Privacy, section 4.2: common denoising does not help. AVIH, supplement B: histogram and "
    "correlation have good statistical properties; they are shown here too, and prove nothing.",
    holds="The protected pictures, and of faces in general their mean and contrast; no pair and no key.",
)
TOP: Final = 255.0
WIDTHS: Final = (1.0, 2.0, 4.0, 8.0)  # pixels: low-pass filters
MEDIAN: Final = 5  # pixels
VARIATION: Final = 0.3  # weight of total variation
SPREAD: Final = 2.0  # pixels: assumed blur of the Wiener filter, and start of the blind one
BALANCE: Final = 0.3  # of the Wiener filter: the more, the smoother
ROUNDS: Final = 5  # of the blind restoration
KERNEL: Final = 9  # pixels: largest blur that it finds
CUT: Final = (1.0, 99.0)  # percentiles that a contrast stretch makes black and white
Values = NDArray[np.float32]
Filter = Callable[[Values], Values]


def run(lab: Lab) -> Iterator[Result]:
    """Filter in each way, for blind guesses noise of the same values; then show statistics."""
    seen, face = lab.targets.protected, lab.blank
    contrast = float(lab.leaked.originals.std(axis=(1, 2, 3)).mean())
    noise = noise_like(seen, seed=lab.settings.seed)
    for label, one in filters().items():
        lab.tell(f"classical: {label}")
        got, blind = (
            exposed(one((pictures / TOP).astype(np.float32)), face, contrast) for pictures in (seen, noise)
        )
        yield Guess(label, lab.targets, got, (blind,))
    got, blind = (stretched(pictures) for pictures in (seen, noise))
    yield Guess("contrast stretch", lab.targets, got, (blind,))
    yield from _statistics(lab)


def filters() -> Mapping[str, Filter]:
    """Return all filters by label.

    Shape:
        - each: ``(n, H, W, 3)`` float32 in [0, 1]; the same comes back, about that range.
    """
    low = {f"low-pass, {width:g} pixels": _low_pass(width) for width in WIDTHS}
    return low | {
        f"low-pass, {SPREAD:g} pixels, grey": lambda seen: _low_pass(SPREAD)(grey(seen)),
        f"median, {MEDIAN} pixels": lambda seen: median_filter(seen, size=(1, MEDIAN, MEDIAN, 1)),
        "total variation": total_variation,
        "non-local means": non_local_means,
        "Wiener filter": wiener_filter,
        "blind restoration": lambda seen: np.stack([blind_restoration(one) for one in seen]),
    }


def exposed(values: Values, face: Pictures, contrast: float) -> Pictures:
    """Give each picture the brightness and contrast of a face, and the sign that looks more like one.

    A filter leaves a picture weak and grey, or turned into its negative; an attacker sees that and turns a knob.

    Args:
        values: what a filter gave.
        face: an average face.
        contrast: usual standard deviation of a face, in grey levels.

    Shape:
        - values: ``(n, H, W, 3)``; face: ``(H, W, 3)`` uint8; output: ``(n, H, W, 3)`` uint8.
    """
    wanted = face.astype(np.float64)
    centred = values - values.mean(axis=(1, 2, 3), keepdims=True)
    spread = centred.std(axis=(1, 2, 3), keepdims=True)
    like = (centred * (wanted - wanted.mean())).mean(axis=(1, 2, 3), keepdims=True)
    scale = np.where(like < 0, -1.0, 1.0) * contrast / np.where(spread > 0, spread, 1)
    return (wanted.mean() + centred * scale).round().clip(0, TOP).astype(np.uint8)


def stretched(pictures: Pictures) -> Pictures:
    """Make each picture's darkest values black and its brightest white.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; the same comes back.
    """
    low, high = np.percentile(pictures, CUT, axis=(1, 2, 3), keepdims=True)
    values = (pictures - low) / np.maximum(high - low, 1) * TOP
    return values.round().clip(0, TOP).astype(np.uint8)


def grey(values: Values) -> Values:
    """Put the mean of the three channels into all of them: noise that differs between them halves nearly."""
    mean: Values = np.broadcast_to(values.mean(axis=3, keepdims=True), values.shape)
    return mean


def total_variation(values: Values) -> Values:
    """Find the nearest pictures with little total variation, each channel by itself."""
    return np.stack([_call(denoise_tv_chambolle, one, weight=VARIATION, channel_axis=2) for one in values])


def non_local_means(values: Values) -> Values:
    """Average each pixel with those whose surroundings look alike."""
    options = {"patch_size": 5, "patch_distance": 5, "fast_mode": True, "channel_axis": 2}
    return np.stack([_call(denoise_nl_means, one, h=0.8 * float(one.std()), **options) for one in values])


def wiener_filter(values: Values) -> Values:
    """Undo an assumed blur as far as the noise lets it."""
    blur = gaussian_kernel(SPREAD)
    return np.stack(
        [
            np.stack([_call(wiener, one[..., c], blur, BALANCE, clip=False) for c in range(3)], axis=2)
            for one in values
        ]
    )


def blind_restoration(picture: Values) -> Values:
    """Find picture and blur together, by turns of the Richardson-Lucy step (Fish et al. 1995).

    Shape:
        - picture: ``(H, W, 3)`` in [0, 1]; the same comes back.
    """
    seen = picture.astype(np.float64).clip(1e-3, 1)
    mean = seen.mean(axis=2)
    guess, kernel = gaussian_filter(mean, SPREAD), gaussian_kernel(SPREAD)
    for _ in range(ROUNDS):
        kernel = _kernel_step(mean, guess, kernel)
        guess = _step(mean, guess, kernel)
    channels = [gaussian_filter(seen[..., channel], SPREAD) for channel in range(3)]
    for _ in range(ROUNDS):
        channels = [_step(seen[..., channel], one, kernel) for channel, one in enumerate(channels)]
    return np.stack(channels, axis=2).astype(np.float32)


def gaussian_kernel(width: float) -> NDArray[np.float64]:
    """Return a blur of this width; ``(KERNEL, KERNEL)``, its sum is 1."""
    middle = np.zeros((KERNEL, KERNEL))
    middle[KERNEL // 2, KERNEL // 2] = 1
    blur = gaussian_filter(middle, width)
    return blur / blur.sum()


def _low_pass(width: float) -> Filter:
    return lambda seen: gaussian_filter(seen, (0, width, width, 0))


def _ratio(seen: NDArray[Any], guess: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    return seen / np.maximum(_convolved(guess, kernel), 1e-3)


def _step(seen: NDArray[Any], guess: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    better = guess * _convolved(_ratio(seen, guess, kernel), kernel[::-1, ::-1])
    return better.clip(1e-3, 2)


def _kernel_step(seen: NDArray[Any], guess: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Correlate what is left with the picture, at the offsets that the kernel has."""
    reach = KERNEL // 2
    wide = np.pad(_ratio(seen, guess, kernel), reach, mode="edge")
    gain = fftconvolve(wide, guess[::-1, ::-1], mode="valid") / guess.sum()
    better = (kernel * gain).clip(0)
    return better / max(better.sum(), 1e-12)


def _convolved(values: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    wide = np.pad(values, KERNEL // 2, mode="edge")
    return fftconvolve(wide, kernel, mode="valid")


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of scikit-image, which has no types."""
    return function(*arguments, **options)


def _statistics(lab: Lab) -> Iterator[Finding]:
    """Show statistics of what is stored beside those of the originals and of true noise."""
    rng = np.random.default_rng(lab.settings.seed)
    noise = rng.integers(0, 256, size=lab.targets.originals.shape, dtype=np.uint8)
    shown = {"stored": lab.targets.protected, "originals": lab.targets.originals, "uniform noise": noise}
    figures = {name: pixel_statistics(pictures) for name, pictures in shown.items()}
    for statistic in figures["stored"]:
        yield Finding(
            statistic,
            {name: one[statistic] for name, one in figures.items()},
            "No evidence of security: a figure like that of noise does not say that a picture tells nothing.",
        )
