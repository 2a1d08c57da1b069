"""Where real photos and weights are, for the tests that use them where they are there."""

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("AVIH_REAL_DATA", Path(__file__).parents[3] / "shared"))
REAL_WEIGHTS = REAL_DATA / "models" / "mobilefacenet_arcface.safetensors"
needs_real_weights = pytest.mark.skipif(
    not REAL_WEIGHTS.is_file(), reason="no models/mobilefacenet_arcface.safetensors under AVIH_REAL_DATA"
)
