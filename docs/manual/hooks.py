"""What MkDocs calls while it builds the manual: pages that are made from the code, and links that fit."""

from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

from docs.manual.commands import commands_page
from docs.manual.exit_codes import exit_codes_page
from docs.manual.files import PAGE as FILES_PAGE
from docs.manual.files import files_page
from docs.manual.links import COPIED, relinked
from docs.manual.settings import settings_page

ROOT: Final = Path(__file__).resolve().parents[2]
MADE: Final = {
    "reference/commands.md": commands_page,
    "reference/exit-codes.md": exit_codes_page,
    FILES_PAGE: files_page,
    "reference/settings.md": settings_page,
}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are no files of ``docs``."""
    for page, make in MADE.items():
        files.append(File.generated(config, page, content=make()))
    for name, page in COPIED.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Fit the links of a page to the manual."""
    own = {made: name for name, made in COPIED.items()}
    uri = page.file.src_uri
    return relinked(markdown, file=own.get(uri, f"docs/{uri}"), page=uri)
