"""Charts say what they show, and show no person."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image
from skimage import data

from avih.errors import UsageError
from avih.evaluation import plots, quality_plot
from avih.evaluation.summary import Limits


def pictures(count: int, *, seed: int = 0, height: int = 20, width: int = 16) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8) for _ in range(count)]


def photos(count: int) -> list[np.ndarray]:
    return [data.astronaut()[10 * i : 10 * i + 24, 100:130] for i in range(count)]


def table() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({"status": ["protected"] * 30 + ["below_quality"] * 5 + ["failed"] * 5})
    for name, middle in (("ssim_e", 0.02), ("ssim_d", 0.9), ("cos", 0.99)):
        rows[name] = generator.normal(middle, 0.004, size=len(rows))
    rows["wrong_key_ssim_d"] = None
    return rows


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def words(figure: Figure) -> str:
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        legend = axes.get_legend()
        parts += [
            axes.get_title("left"),
            axes.get_xlabel(),
            axes.get_ylabel(),
            *(t.get_text() for t in axes.texts),
        ]
        parts += [t.get_text() for t in legend.get_texts()] if legend else []
    return "\n".join(parts)


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes lie on each other in the drawn figure."""
    png(figure)
    texts = [figure._suptitle] if figure._suptitle else []  # type: ignore[attr-defined]
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]  # type: ignore[attr-defined]
        texts += [*axes.get_xticklabels(), *axes.get_yticklabels(), *(legend.get_texts() if legend else [])]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_text() and text.get_visible()
    ]
    return [
        (one, two)
        for place, (one, box) in enumerate(boxes)
        for two, other in boxes[place + 1 :]
        if box.overlaps(other)
    ]


def test_quality_distributions_count_and_draw_the_limits() -> None:
    rows = table()
    figure = quality_plot.quality_distributions(
        [rows], data_set="made-up faces", limits=Limits(ssim_e_max=0.025)
    )
    assert "made-up faces, n = 35" in words(figure)
    hidden, recovered, matched, wrong_key = figure.axes
    assert sum(bar.get_height() for bar in hidden.patches) == 35
    drawn = [line.get_xdata()[0] for line in hidden.lines if len(line.get_xdata()) == 2]  # type: ignore[index, arg-type]
    assert drawn == [0.025]
    counted = rows.loc[rows["status"] != "failed"]
    assert f"mean {counted['ssim_d'].mean():.4f}" in words(figure)
    assert [axes.get_xlabel() for axes in (recovered, matched)] == ["SSIM_d (no unit)", "cos (no unit)"]
    assert [text.get_text() for text in wrong_key.texts] == ["not measured"]
    assert all(axes.get_ylabel() == "images" for axes in figure.axes)


def test_quality_distributions_of_parts_are_those_of_the_whole() -> None:
    rows = table()
    whole = quality_plot.quality_distributions([rows])
    parts = quality_plot.quality_distributions([rows[start : start + 3] for start in range(0, 40, 3)])
    for one, other in zip(whole.axes, parts.axes, strict=True):
        bars = [[(bar.get_x(), bar.get_height()) for bar in axes.patches] for axes in (one, other)]
        assert bars[0] == bars[1]
    ssim_d = rows.loc[rows["status"] != "failed", "ssim_d"]
    edges = [bar.get_x() for bar in whole.axes[1].patches]
    heights = [bar.get_height() for bar in whole.axes[1].patches]
    last = whole.axes[1].patches[-1]
    assert heights == np.histogram(ssim_d, bins=[*edges, last.get_x() + last.get_width()])[0].tolist()
    assert words(whole) == words(parts)


def test_quality_distributions_take_single_and_partial_values() -> None:
    rows = table()
    rows.loc[1:, "ssim_d"] = np.nan
    rows["cos"] = 0.995  # as high as its limit: an axis without any spread of its own
    rows["wrong_key_ssim_d"] = [0.1] * 10 + [None] * 30
    figure = quality_plot.quality_distributions([rows])
    assert "Recovered vs original (n = 1)" in words(figure)
    assert "(n = 10)" in words(figure)
    assert Image.open(io.BytesIO(png(figure))).size == (1104, 768)
    with pytest.raises(UsageError, match="none named cos"):
        quality_plot.quality_distributions([rows.drop(columns="cos")])


def test_pixel_histograms_are_those_of_all_images_together() -> None:
    originals, protected = photos(16), pictures(16)
    protected[3] = pictures(1, seed=4, height=9, width=31)[0]  # sizes may differ
    figure = plots.pixel_histograms(originals, protected, data_set="made-up faces")
    for axes, group in zip(figure.axes, (originals, protected), strict=True):
        (steps,) = (patch for patch in axes.patches if isinstance(patch, StepPatch))
        values = np.concatenate([picture.ravel() for picture in group])
        expected = [100 * np.mean(values == level) for level in range(256)]
        assert steps.get_data().values == pytest.approx(expected)
        assert f"level 0: {expected[0]:.1f} %" in axes.texts[0].get_text()
    assert "made-up faces, n = 16 images together" in words(figure)
    assert "share of values (%)" in words(figure)


def test_neighbours_of_photos_correlate_and_those_of_noise_do_not() -> None:
    originals, protected = photos(20), pictures(20)
    figure = plots.adjacent_pixel_correlation(originals, protected, data_set="made-up faces")
    pairs = (
        [np.concatenate([p[:, :-1].ravel() for p in group]) for group in (originals, protected)],
        [np.concatenate([p[:, 1:].ravel() for p in group]) for group in (originals, protected)],
    )
    for axes, name, here, there in zip(figure.axes[:2], ("Originals", "Protected"), *pairs, strict=True):
        expected = np.corrcoef(here.astype(float), there.astype(float))[0, 1]
        assert axes.get_title("left") == f"{name}: correlation {expected:.3f}"
        (mesh,) = (c for c in axes.collections if isinstance(c, QuadMesh))
        drawn = np.ma.filled(np.ma.asarray(mesh.get_array()), 0.0)
        cells = np.histogram2d(there, here, bins=64, range=[[0, 256], [0, 256]])[0]  # rows go upwards
        assert drawn == pytest.approx(100 * cells / cells.sum())
    assert "n = 20 images together" in words(figure)


@pytest.mark.parametrize("chart", [plots.pixel_histograms, plots.adjacent_pixel_correlation])
def test_charts_of_pixels_need_sixteen_images(chart) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="at least 16 images together, got 15"):
        chart(photos(15), pictures(15))
    with pytest.raises(UsageError, match="as many protected images"):
        chart(photos(17), pictures(16))
    with pytest.raises(UsageError, match="a protected image as uint8"):
        chart(photos(16), [picture / 255 for picture in pictures(16)])


@pytest.mark.parametrize(
    "figure",
    [
        quality_plot.quality_distributions(
            [table()], data_set="a data set with quite a long name, aligned to 112 x 112"
        ),
        plots.pixel_histograms(photos(16), pictures(16)),
        plots.adjacent_pixel_correlation(photos(16), pictures(16)),
    ],
    ids=["quality", "histograms", "neighbours"],
)
def test_no_text_lies_on_another_and_no_picture_is_inside(figure: Figure) -> None:
    assert overlaps(figure) == []
    assert not figure.images
    assert not any(axes.images for axes in figure.axes)
