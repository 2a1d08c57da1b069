import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avih.html.figures import NONE, duration, gain, percent, points, similarity
from avih.html.markup import Html, joined, tag
from avih.lab.budget import leak_budget
from avih.lab.report.page import write_report
from avih.lab.report.plots import id_limits
from avih.lab.result import LeakBudget, Told
from avih.lab.runner import Audit
from avih.lab.settings import LabLimits
from chromium import Chromium, Laid, chromium
from sample_audit import CHANCE, attacks, audit, entry, measured, result, shown

SMALL_PHONE, PHONE, TABLET, DESKTOP = (360, 800), (412, 915), (834, 1112), (1280, 900)
BAD = '<script>alert("x")</script>&$price${gallery}'
NEVER_CLOSED = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a page holds, and whether every element is closed where it has to be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[name] += 1
        self.attributes += [(name, key, value or "") for key, value in attributes]
        if name not in NEVER_CLOSED:
            self._open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[name] += 1
        self.attributes += [(name, key, value or "") for key, value in attributes]

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, key: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == key]


def written(folder: Path, content: Audit) -> str:
    path = write_report(content, folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the usual audit."""
    return written(tmp_path_factory.mktemp("page"), audit())


def test_asks_for_nothing_outside_itself(text: str) -> None:
    page = Page(text)
    assert not re.search(r"https?:|@import|//[a-z]", re.sub(r"base64,[^\"]*", "", text), re.IGNORECASE)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_every_reference_on_the_page_finds_one_place(text: str) -> None:
    page = Page(text)
    places = page.values("id")
    wanted = {value[1:] for value in [*page.values("href"), *re.findall(r"url\((#[^)]*)\)", text)]}
    assert len(places) == len(set(places))
    assert wanted <= set(places)
    assert page.tags["svg"] == 4


def test_shows_every_control_attack_variant_and_finding(text: str) -> None:
    content, page = audit(), Page(text)
    for control in content.result.controls:
        assert control.name in page.text and control.expected in page.text and control.got in page.text
    for attack in content.result.attacks:
        assert attack.title in page.text and attack.claim in page.text and attack.holds in page.text
        assert f"attack-{attack.name}" in page.values("id")
        assert all(one.label in page.text for one in (*attack.variants, *attack.findings))
        assert attack.note in page.text
    assert page.tags["details"] == len(content.result.attacks)
    assert all(note in page.text for note in content.result.notes)


def test_figures_stand_beside_their_prior_with_intervals(text: str) -> None:
    words = Page(text).text
    row = words[words.index("Attack, and what the attacker has") :]
    assert re.search(
        r"FAIL 63% \[56%, 72%\] prior 3\.1% \+0\.210 \[\+0\.189, \+0\.234\] 21% \[0%, 32%\] 94 s", row
    )


def test_groups_what_counts_and_what_does_not(text: str) -> None:
    words = Page(text).text
    heads = (
        "Count for the verdict",
        "By design",
        "For the owner",
        "No evidence of security",
        "Do not apply here",
    )
    places = [words.index(head) for head in heads]
    assert places == sorted(places)
    firsts = ("Network trained on leaked", "Inverting", "What noise", "Denoising", "Folding the picture")
    for head, first in zip(places, firsts, strict=True):
        assert words.index(first, head) == min(
            words.index(one, head) for one in firsts if one in words[head:]
        )


def test_what_a_finding_decided_counts_and_is_named(tmp_path: Path) -> None:
    linked = Told(label="linked by pixels", values={"rate": 0.4}, text="By pixels.", level="fail")
    by_design = measured("inversion", 0.53, 0.03, kind="by design")
    side = entry("side", "The recogniser", by_design, kind="by design", verdict="fail", findings=(linked,))
    words = Page(written(tmp_path, audit(attacks=(side,), leak_budget=None))).text
    row = words[words.index("Count for the verdict") : words.index("Tests", words.index("Count for the"))]
    assert "Decided by linked by pixels" in row and "FAIL" in row
    assert "53%" not in row and "Shown, not counted" not in row


@pytest.mark.parametrize("verdict", ["pass", "warn", "fail", "attack too weak"])
def test_verdict_comes_first_and_is_explained(tmp_path: Path, verdict: str) -> None:
    text = written(tmp_path, audit(verdict=verdict, summary="One sentence.", attacks=(), leak_budget=None))
    words = Page(text).text
    assert words.index(verdict.upper()) < words.index("One sentence.") < words.index("What this is not")
    assert "Not encryption" in words
    assert f'class="verdict {verdict.replace(" ", "-")}"' in text
    assert f'<dt class="now">{verdict.upper()}</dt>' in text


def test_limits_in_words_are_those_of_the_judgement(tmp_path: Path) -> None:
    assert id_limits(result(), LabLimits()) == (2 * CHANCE, 0.10)
    assert id_limits(result(chance=0.1), LabLimits()) == (0.2, 0.2)
    assert id_limits(result(chance=0.001), LabLimits()) == (0.02, 0.10)
    stricter = LabLimits(fail_id_advantage=0.3, fail_ssim_advantage=0.25)
    words = Page(written(tmp_path, audit(limits=stricter))).text
    assert "identification at most 5 points above it" in words
    assert "by 30 points or a TAR of 5%, either beyond luck, or SSIM by 0.25" in words


def test_any_text_may_hold_markup(tmp_path: Path) -> None:
    bad = entry(
        "same_key_network", BAD, measured(BAD, 0.2, 0.1, pairs=8, **{BAD: BAD}), claim=BAD, holds=BAD, note=BAD,
    )  # fmt: skip
    texts = ("summary", "gallery", "version", "method", "recovery", "profile", "data", "recogniser")
    control = result().controls[0].model_copy(update={"name": BAD, "expected": BAD, "got": BAD})
    finding = (
        attacks(True)[3].findings[0].model_copy(update={"label": BAD, "text": BAD, "values": {BAD: 1.0}})
    )
    other = entry("flips", BAD, verdict="does not apply", note=BAD, findings=(finding,))
    content = Audit(
        result(
            **dict.fromkeys(texts, BAD),
            second_recogniser=BAD,
            notes=(BAD,),
            attacks=(bad, other),
            controls=(control,),
        ),
        tuple(type(one)(BAD, BAD, one.truth, one.seen, one.prior, one.guess) for one in shown(1)),
    )
    page = Page(written(tmp_path, content))
    assert "script" not in page.tags
    assert page.text.count(BAD) > 25


def test_pictures_only_of_consenting_data_sets(tmp_path: Path, text: str) -> None:
    without = Page(written(tmp_path, audit(consenting=False)))
    assert without.tags["img"] == 0
    assert "Pictures are shown only for consenting data sets" in without.text
    page = Page(text)
    assert page.tags["img"] == 2 * 3 * 4
    assert all(alt.startswith("Picture ") for alt in page.values("alt")) and len(page.values("alt")) == 24
    assert "only for consenting" not in page.text


def test_pictures_are_the_very_ones(tmp_path: Path) -> None:
    page = Page(written(tmp_path, Audit(result(attacks=(), leak_budget=None), shown(1)[:1])))
    decoded = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(value.split(",")[1]))))
        for value in page.values("src")
    ]
    one = shown(1)[0]
    for got, wanted in zip(decoded, (one.truth[0], one.seen[0], one.prior[0], one.guess[0]), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_same_audit_same_bytes(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, audit()) == text


def test_leak_budget_in_words(tmp_path: Path, text: str) -> None:
    fallen = Page(text).text
    assert re.search(r"N10: [^:]* 32 pairs N50: [^:]* 96 pairs", fallen)
    held = Page(written(tmp_path, audit(weak=False))).text
    assert held.count("never, with up to 96 pairs") == 2
    one = LeakBudget(points=(), n10=1, n50=None, most=8)
    assert "1 pair N50" in Page(written(tmp_path, audit(leak_budget=one))).text


def test_charts_tell_their_figures_to_those_who_do_not_see_them(text: str) -> None:
    says = Page(text).values("aria-label")
    assert any("8 pairs: 0; 32 pairs: +14; 96 pairs: +60." in one for one in says)
    assert any("8 pairs: +0.010; 32 pairs: +0.080; 96 pairs: +0.210." in one for one in says)
    assert sum("Keys of strangers" in one for one in says) == 2


def test_audit_without_figures_still_has_a_page(tmp_path: Path) -> None:
    nothing = (entry("flips", "Folding", verdict="does not apply", note="too few pictures"),)
    page = Page(written(tmp_path, audit(attacks=nothing, leak_budget=None, notes=(), controls=())))
    assert page.tags["svg"] == 0
    assert "was not part of this audit" in page.text


def test_one_size_of_leak_without_identification(tmp_path: Path) -> None:
    """A single point is no curve, and there is no chart of a figure that nobody measured."""
    only = (entry("same_key_network", "Network", measured("8 pairs", None, 0.02, pairs=8)),)
    page = Page(written(tmp_path, audit(attacks=only, leak_budget=leak_budget(only))))
    assert page.tags["svg"] == 2
    assert all("SSIM" in one for one in page.values("aria-label"))


def test_figures_as_people_read_them() -> None:
    assert [percent(one) for one in (None, 0.0, 0.031, 0.02, 0.63)] == [NONE, "0%", "3.1%", "2%", "63%"]
    assert [points(one) for one in (None, 0.004, -0.004, 0.104)] == [NONE, "0", "0", "+10"]
    assert points(-0.06) == "\N{MINUS SIGN}6"
    assert [gain(one) for one in (None, 0.0, 0.0211)] == [NONE, "0.000", "+0.021"]
    assert gain(-0.5, digits=2) == "\N{MINUS SIGN}0.50"
    assert [similarity(one) for one in (None, 0.4444)] == [NONE, "0.444"]
    assert [duration(one) for one in (3.14, 94, 512.3, 9000)] == ["3.1 s", "94 s", "8 min 32 s", "2 h 30 min"]


def test_texts_are_escaped_once_and_markup_is_kept() -> None:
    inner = tag("b", "1 < 2")
    assert inner == "<b>1 &lt; 2</b>"
    assert joined(inner, "&") == "<b>1 &lt; 2</b>&amp;"
    assert (
        tag("td", inner, data_label='a"b', css="x")
        == '<td class="x" data-label="a&quot;b"><b>1 &lt; 2</b></td>'
    )
    assert isinstance(inner, Html)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Chromium:
    return chromium(tmp_path_factory.mktemp("chromium"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = "A title that goes on and on about what the attacker does with all that was leaked to him"
    entries = (
        *attacks(True),
        entry("gradient", long, measured("w" * 90, 0.1, 0.04, lpips=0.4, fit_steps=60)),
    )
    return write_report(audit(attacks=entries, gallery="g" * 70), tmp_path_factory.mktemp("report"))


def test_nothing_sticks_out_of_a_screen(browser: Chromium, report: Path) -> None:
    widths = sorted(size[0] for size in (SMALL_PHONE, PHONE, TABLET, DESKTOP))
    assert browser.laid(report, widths=widths) == [Laid(width, width, "") for width in widths]


def test_what_sticks_out_is_seen(browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text("<!DOCTYPE html><details><p style='width:700px'>wide</p></details>", encoding="utf-8")
    phone, desktop = browser.laid(page, widths=[PHONE[0], DESKTOP[0]])
    assert phone.scroll_width > 700 and "P." in phone.outside
    assert (desktop.scroll_width, desktop.outside) == (DESKTOP[0], "")


def test_browser_understands_the_page(browser: Chromium, report: Path) -> None:
    dom = browser.dom(report)
    assert '<p class="word">FAIL</p>' in dom
    assert all(f'id="attack-{one.name}"' in dom for one in attacks(True))
    assert dom.count("<svg") == 4


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_screenshot_shows_the_verdict_in_its_colour(
    browser: Chromium, report: Path, size: tuple[int, int]
) -> None:
    with Image.open(browser.screenshot(report, width=size[0], height=size[1])) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (size[1], size[0])
    red = (np.abs(pixels - (0xB0, 0x24, 0x1C)).sum(axis=2) < 12).mean()
    assert 0.002 < red < 0.1
    assert (pixels > 240).all(axis=2).mean() > 0.5  # calm: most of it is paper
