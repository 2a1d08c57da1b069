"""Pages in a real headless Chromium: what it shows, and how wide it becomes."""

import html
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
LEAST_WIDTH = 500  # of a window
PATIENCE_S = 120.0  # for a browser on a busy machine
# A frame is as wide as it is told to be; a window of Chromium has a least width. What sticks out of a frame is
# named, for the message of a failing test.
MEASURE = """
const content = document.querySelector("template").content.textContent;
for (const frame of document.querySelectorAll("iframe")) {
  frame.addEventListener("load", () => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach(one => { one.open = true; });
    const wide = [...page.querySelectorAll("body *")].filter(
      one => one.getBoundingClientRect().right > root.clientWidth + 1);
    const line = document.createElement("pre");
    line.textContent = ["measured", root.clientWidth, root.scrollWidth,
      wide.map(one => one.tagName + "." + (one.getAttribute("class") || "")).slice(0, 5).join(" ")].join("|");
    document.body.append(line);
  });
  frame.srcdoc = content;
}
"""


@dataclass(frozen=True)
class Laid:
    """How a page lies in a frame: widths in CSS pixels, and elements that stick out."""

    width: int
    scroll_width: int
    outside: str


@dataclass(frozen=True)
class Chromium:
    """A browser with a profile of its own."""

    program: str
    folder: Path
    options: tuple[str, ...] = ()

    def screenshot(self, page: Path, *, width: int, height: int) -> Path:
        """Take a picture of a page in a frame of this size; it has the name of the page and its width."""
        file = self.folder / f"{page.stem}-{width}.png"
        frame = self._frames(page, [width], height)
        self._run(*self.options, f"--screenshot={file}", _window(width, height), page=frame)
        with Image.open(file) as picture:
            picture.crop((0, 0, width, height)).save(file)
        return file

    def dom(self, page: Path, *, query: str = "") -> str:
        """Return the page as the browser understood it; with a query, after its scripts had time."""
        options = ("--virtual-time-budget=20000",) if query else ()
        return self._run("--dump-dom", *options, page=page, query=query)

    def laid(self, page: Path, *, widths: Sequence[int]) -> list[Laid]:
        """Tell how a page lies in frames of these widths, with all that can be unfolded unfolded."""
        height = 900
        dom = self._run("--dump-dom", _window(max(widths), height), page=self._frames(page, widths, height))
        found = re.findall(r"<pre>measured\|(\d+)\|(\d+)\|([^<]*)</pre>", dom)
        assert len(found) == len(widths), dom[-2000:]
        return sorted((Laid(int(one[0]), int(one[1]), one[2]) for one in found), key=lambda one: one.width)

    def _frames(self, page: Path, widths: Sequence[int], height: int) -> Path:
        wrapper = self.folder / f"frames-{page.stem}-{'-'.join(map(str, widths))}.html"
        content = html.escape(page.read_text(encoding="utf-8"))
        style = "border:0;display:block"
        frames = (f'<iframe style="{style}" width="{width}" height="{height}"></iframe>' for width in widths)
        wrapper.write_text(
            f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{"".join(frames)}'
            f"<template>{content}</template><script>{MEASURE}</script>",
            encoding="utf-8",
        )
        return wrapper

    def _run(self, *options: str, page: Path, query: str = "") -> str:
        command = [
            self.program,
            *OPTIONS,
            f"--user-data-dir={self.folder / 'profile'}",
            *options,
            f"{page.as_uri()}{query}",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout


def _window(width: int, height: int) -> str:
    return f"--window-size={max(width, LEAST_WIDTH)},{height}"


def chromium(folder: Path) -> Chromium:
    """Return a browser that keeps its files in a folder; skip the test where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return Chromium(program, folder)
