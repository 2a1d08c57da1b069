"""Figures as people read them."""

from collections.abc import Callable
from typing import Final

from avih.html.markup import Html, joined, tag

NONE: Final = "\N{EN DASH}"
Says = Callable[[float | None], str]
Interval = tuple[float, float] | None


def percent(rate: float | None) -> str:
    """Return a rate from 0 to 1 in percent, with a digit after the point where it is small."""
    if rate is None:
        return NONE
    return f"{rate:.1%}".replace(".0%", "%") if abs(rate) < 0.1 else f"{rate:.0%}"


def points(advantage: float | None) -> str:
    """Return the difference of two rates, in points of a hundred."""
    return NONE if advantage is None else _signed(f"{100 * advantage:+.0f}")


def similarity(value: float | None, *, digits: int = 3) -> str:
    """Return an SSIM, or another figure like it."""
    return NONE if value is None else _signed(f"{value:.{digits}f}")


def gain(value: float | None, *, digits: int = 3) -> str:
    """Return the difference of two SSIM."""
    return NONE if value is None else _signed(f"{value:+.{digits}f}")


def figure(value: float | int | str | None) -> str:
    """Return any figure, short."""
    if isinstance(value, float):
        return _signed(f"{value:.4g}")
    return NONE if value is None else str(value)


def duration(seconds: float) -> str:
    """Return seconds in seconds, minutes or hours."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def with_interval(value: float | None, interval: Interval, *, says: Says = percent) -> Html:
    """Put the interval after a figure, both written in one way."""
    if value is None or interval is None:
        return joined(says(value))
    low, high = (says(end) for end in interval)
    return joined(says(value), " ", tag("span", f"[{low}, {high}]", css="ci"))


def _signed(text: str) -> str:
    """Write a minus as a minus, and no sign before a zero."""
    if not text.strip("+-0."):
        return text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")
