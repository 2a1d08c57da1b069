"""An audit under way: what each finished attack found is kept, so that an audit that was cut off goes on.

Figures only. Reconstructions stay in memory, so an audit whose report shows them begins anew.
"""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from avih.atomic import remove_tree
from avih.errors import IntegrityError
from avih.lab.result import AttackEntry
from tasks.signed_json import read_signed, write_signed

FOLDER: Final = "begun"
LABEL: Final = "avih begun audit v1"


class BegunAudit:
    """The finished attacks of one audit; those of another audit count for nothing.

    Args:
        folder: where the audit's verdict will lie.
        inputs: digest of everything that the audit depends on.
        mac_key: signs what is kept; a promotion may rest on it.
    """

    def __init__(self, folder: Path, *, inputs: str, mac_key: bytes) -> None:
        self.folder, self.inputs, self.mac_key = folder / FOLDER, inputs, mac_key

    def known(self) -> dict[str, AttackEntry]:
        """Return what finished attacks found, by name; what is damaged or of another audit is left out."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                content = read_signed(path, mac_key=self.mac_key, label=LABEL) or {}
                entry = AttackEntry.model_validate(content["entry"])
            except (IntegrityError, KeyError, ValidationError):
                continue  # it is tried again, which costs time and nothing else
            if content.get("inputs") == self.inputs:
                found[entry.name] = entry
        return found

    def keep(self, entry: AttackEntry) -> None:
        """Keep what an attack found; one that broke is tried again."""
        if entry.verdict == "error":
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"inputs": self.inputs, "entry": entry.model_dump(mode="json")}
        write_signed(self.folder / f"{entry.name}.json", content, mac_key=self.mac_key, label=LABEL)

    def end(self) -> None:
        """Forget them: the verdict has it all."""
        if self.folder.is_dir():
            remove_tree(self.folder)
