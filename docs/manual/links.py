"""Links of pages: what points to a file of the repository points to its page, or becomes plain text."""

import posixpath
import re
from collections.abc import Mapping
from typing import Final

# Files outside docs/ that have a page of their own.
COPIED: Final[Mapping[str, str]] = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
_LINK: Final = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_PICTURE: Final = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ELSEWHERE: Final = re.compile(r"^([a-z]+:|#)")


def relinked(markdown: str, *, file: str, page: str) -> str:
    """Return a page whose links fit the manual.

    Args:
        markdown: text of a file.
        file: the file, relative to the repository.
        page: its page, relative to the manual.
    """

    def link(found: re.Match[str]) -> str:
        target = _on_manual(found["target"], file, page)
        return found["text"] if target is None else f"[{found['text']}]({target})"

    def picture(found: re.Match[str]) -> str:
        return f"![{found['text']}]({_on_manual(found['target'], file, page) or found['target']})"

    # Code is not prose: what looks like a link there is none.
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [_PICTURE.sub(picture, _LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def _on_manual(target: str, file: str, page: str) -> str | None:
    """Say what a link of a file points to in the manual; nothing if the manual does not have it."""
    if _ELSEWHERE.match(target):
        return target
    path, mark, anchor = target.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
    if wanted.startswith("data/") and wanted.endswith("README.md"):
        found = "reference/files.md"
    elif wanted.startswith("docs/"):
        found = wanted.removeprefix("docs/")
    elif wanted in COPIED:
        found = COPIED[wanted]
    else:
        return None
    return posixpath.relpath(found, posixpath.dirname(page) or ".") + mark + anchor
