"""What the figures of a gallery version are called, and how people read them."""

from typing import Final

HONESTY: Final = (
    "A deterrent against people viewing the gallery; it is not encryption: whoever owns the recogniser still "
    "matches, links and can invert the features, because matching is what the gallery is for."
)
# Key of the summary, what people call it, and which way is good.
FIGURES: Final = (
    ("ssim_e", "SSIM_e (protected vs original)", "low hides"),
    ("lpips_e", "LPIPS_e", "high hides"),
    ("ssim_d", "SSIM_d (recovered vs original)", "high recovers"),
    ("lpips_d", "LPIPS_d", "low recovers"),
    ("cos_mean", "cos, mean", "1 is recognised"),
    ("cos_min", "cos, worst image", "1 is recognised"),
    ("acc_original", "rank-1 ORIGINAL", "nothing protected"),
    ("acc_one", "rank-1 ONE", "one gallery image protected"),
    ("acc_all", "rank-1 ALL", "all gallery images protected"),
    ("wrong_key_ssim_d", "SSIM_d with a wrong key", "low is safe"),
    ("seconds_per_image", "seconds per image", ""),
)


def figure_text(value: float | None) -> str:
    """Write a figure for people; ``-`` where it was not measured."""
    return "-" if value is None else f"{value:.4f}"
