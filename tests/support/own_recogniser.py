"""A card with the owner's own module beside it, and the synthetic recogniser's card with other words in it."""

import json
from dataclasses import dataclass
from pathlib import Path

from avih.recognisers.card import CARDS_FOLDER
from avih.recognisers.check import check_recogniser
from avih.recognisers.findings import Checked, Finding

WEIGHTS = CARDS_FOLDER.parent / "weights" / "synthetic.safetensors"
SYNTHETIC = (
    (CARDS_FOLDER / "synthetic.toml").read_text().replace("../weights/synthetic.safetensors", str(WEIGHTS))
)
TINY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8, **OPTIONS)
        self.fc = nn.Linear(8, 16)
    def forward(self, images):
        BEFORE
        features = self.fc(torch.relu(self.norm(self.conv(images))).mean((2, 3)))
        return AFTER

def build():
    SEED
    return Tiny()
"""


@dataclass
class Own:
    """A folder with a card and the owner's module beside it."""

    folder: Path

    def module(
        self,
        *,
        options: str = "{}",
        before: str = "pass",
        after: str = "features",
        seed: str = "torch.manual_seed(3)",
    ) -> None:
        text = TINY.replace("OPTIONS", options).replace("BEFORE", before).replace("AFTER", after)
        (self.folder / "tiny.py").write_text(text.replace("SEED", seed))

    def card(self, architecture: str = "python:tiny:build", **changes: object) -> Path:
        fields: dict[str, object] = {
            **{"name": "own", "architecture": architecture, "description": "d", "template": "64x64"},
            **{"input_height": 64, "input_width": 64, "colour_order": "RGB", "mean": 127.5, "std": 127.5},
            **{"feature_size": 16, **changes},
        }
        path = self.folder / "own.toml"
        path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()))
        return path

    def check(self, architecture: str = "python:tiny:build", **changes: object) -> Checked:
        return check_recogniser(card=self.card(architecture, **changes))


def about(checked: Checked, what: str) -> Finding:
    return next(finding for finding in checked.findings if finding.what == what)


def altered(folder: Path, changes: dict[str, str], *, probe: bool) -> Path:
    text = SYNTHETIC
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "altered.toml"
    path.write_text(text if probe else text[: text.index("[probe]")])
    return path
