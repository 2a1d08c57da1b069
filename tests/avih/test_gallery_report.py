"""The page of a gallery's report, from facts written by hand: sums, verdicts, trends, missing figures."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from avih.evaluation.quality_plot import distributions
from avih.evaluation.summary import Limits
from avih.gallery_report.facts import GalleryFacts, KeyFacts, Now, Point, account
from avih.gallery_report.page import page
from avih.gallery_report.pictures import Card, Sheet, pictures_page
from chromium import chromium

BAD = '<script>alert("x")</script>&$price${gallery}'
METRICS = {
    "ssim_e": 0.011, "ssim_d": 0.95, "cos_mean": 0.998, "cos_min": 0.99, "acc_original": 0.9, "acc_one": 0.9,
    "acc_all": 0.895, "wrong_key_ssim_d": 0.01, "seconds_per_image": 1.5, "lpips_e": None, "lpips_d": None,
}  # fmt: skip


def rows() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({name: generator.uniform(0.9, 1, 12) for name in ("ssim_e", "ssim_d", "cos")})
    table["status"] = ["protected"] * 7 + ["below_quality"] * 2 + ["skipped"] * 2 + ["failed"]
    low = "cos 0.970 below 0.98; SSIM_d 0.800 below 0.88"
    table["reason"] = [""] * 7 + ["cos 0.971 below 0.98", low] + ["no_face"] * 2 + [None]
    return table.assign(wrong_key_ssim_d=None)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((112, 96, 3), value, np.uint8)).save(file, format="PNG")
    return file.getvalue()


def facts(**more: object) -> GalleryFacts:
    point = Point("v0002", METRICS, {"protected": 9, "failed": 3})
    whole = GalleryFacts(
        gallery="people", version="v0002", key_id="0" * 16, method="avih", recovery="keyed",
        recogniser="synthetic", fingerprint="f" * 16, code_version="1", photos=12,
        accounting=account([rows()[:5], rows()[5:]]),
        metrics=METRICS, limits=Limits(), broken=(), notes=("a note",), persons=3,
        distributions=tuple(distributions([rows()], Limits())[1]),
        key=KeyFacts("0" * 16, "active", "2026-01-01", 9, 100), pictures=(png(10), png(20)),
        trend=(replace(point, version="v0001"), point), links=(("Check", "avih verify"),),
    )  # fmt: skip
    return replace(whole, **more)


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL))


def test_every_photo_has_one_status_and_one_reason():
    found = facts()
    assert found.accounting == {
        "protected": {"": 7}, "below_quality": {"cos": 1, "cos and SSIM_d": 1}, "skipped": {"no_face": 2},
        "failed": {"": 1},
    }  # fmt: skip
    assert found.accounted == found.photos == 12
    told = words(page(found))
    assert "9 of 12 photos are protected, 2 of them below the quality asked for; 3 could not be." in told
    assert "cos and SSIM_d too low: 1" in told and "no face: 2" in told and "each of them" in told
    assert "12 are accounted for" in words(page(facts(photos=13)))


def test_nothing_is_loaded_and_every_reference_has_its_place():
    text = page(facts())
    bare = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"https?:|@import|<script|<link|\son\w+=", bare)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", bare))
    places = re.findall(r'\sid="([^"]+)"', bare)
    assert len(places) == len(set(places)) and page(facts()) == text
    shown = [base64.b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]
    assert shown == [png(10), png(20)]


def test_a_broken_limit_is_told_where_it_broke():
    broken = facts(metrics=METRICS | {"ssim_e": 0.04, "acc_all": 0.8}, broken=("SSIM_e 0.040 is above",))
    text = page(broken)
    assert "OUTSIDE THE LIMITS" in text and text.count("badge fail") == 2 and "SSIM_e 0.040 is above" in text
    assert "WITHIN THE LIMITS" in page(facts()) and "badge fail" not in page(facts())


def test_figures_that_do_not_exist_are_called_so():
    sealed = words(page(facts(metrics=METRICS | {"wrong_key_ssim_d": None})))
    assert re.search(r"SSIM_d with a wrong key low is safe not measured at most 0.15 (?!kept)", sealed)
    nothing = page(
        facts(metrics=None, distributions=(), key=None, pictures=(), trend=(), accounting=account([]))
    )
    told = words(nothing)
    assert (
        "NOT MEASURED" in told and "avih evaluate" in told and "<svg" not in nothing and "<img" not in nothing
    )


def test_the_trend_needs_two_versions_and_tells_its_figures():
    text = page(facts())
    assert 'aria-label="Photos protected by version. v0001: 9; v0002: 9."' in text
    assert text.count("<svg") == 3 + 6
    assert "a trend needs two" in page(facts(trend=facts().trend[:1]))
    long = tuple(Point(f"v{n:04d}", METRICS, {"protected": n}) for n in range(1, 200))
    assert "v0199: 199." in page(facts(trend=long)) and "v0001: 1;" not in page(facts(trend=long))


def test_any_text_may_hold_markup():
    now = Now(live=False, headline=BAD, rows=((BAD, BAD),), links=((BAD, BAD),), browse=BAD)
    text = page(facts(gallery=BAD, version=BAD, notes=(BAD,), broken=(BAD,), method=BAD, now=now))
    card = Card(BAD, BAD, BAD, cos=0.5)
    sheet = Sheet(BAD, BAD, 1, 2, 61, 1, True, (card,), (BAD,))
    for content in (text, pictures_page(sheet, report="./", browse="pictures")):
        assert "<script" not in content and content.count("&lt;script") >= 5


def test_pages_of_pictures_lead_to_one_another():
    def links(number: int) -> list[str]:
        sheet = Sheet("people", "v0001", number, 5, 300, 1, False, (Card("a", "failed", "empty"),))
        return re.findall(r">(First|Back|Next|Last)<", pictures_page(sheet, report="./", browse="pictures"))[
            ::1
        ]

    assert [links(number)[: len(links(number)) // 2] for number in (1, 2, 3, 5)] == [
        ["Next", "Last"], ["Back", "Next", "Last"], ["First", "Back", "Next", "Last"], ["First", "Back"],
    ]  # fmt: skip


@pytest.mark.parametrize("width", [412, 1280])
def test_the_page_fits_its_screen_and_is_calm(tmp_path: Path, width: int):
    file = tmp_path / "report.html"
    now = Now(
        live=True, headline="since " + "x" * 90, rows=(("Last night", "y" * 90),), links=(("a", "z" * 200),)
    )
    file.write_text(page(facts(gallery="g" * 70, now=now)), encoding="utf-8")
    browser = chromium(tmp_path)
    (laid,) = browser.laid(file, widths=[width])
    assert (laid.scroll_width, laid.outside) == (width, "")
    with Image.open(browser.screenshot(file, width=width, height=900)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    green = (np.abs(pixels.astype(int) - (0x1C, 0x6E, 0x41)).sum(axis=2) < 12).mean()
    assert 0.002 < green < 0.1 and (pixels > 240).all(axis=2).mean() > 0.5
