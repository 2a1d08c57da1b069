"""The recogniser card: everything that decides which features a photo gets, in one TOML file.

A card names the architecture, the input the network was trained on (size, colour order, value range,
alignment template), where its weights are and their SHA-256, and a probe: a picture made by arithmetic and
the features it must give. Five published recognisers need five different inputs; a card keeps that knowledge
out of the code and the probe proves it at every load.
"""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from avih.errors import UsageError
from avih.face_templates import template_named

CARDS_FOLDER = Path(__file__).parent / "cards"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# TOML arrays arrive as lists; the card stores tuples, so that a loaded card cannot be changed.
Names = Annotated[tuple[str, ...], Field(strict=False)]
Numbers = Annotated[tuple[float, ...], Field(strict=False, min_length=4)]


def _one_or_three(value: object) -> float | tuple[float, float, float]:
    """Read one number, or three that are not all the same: equal facts have equal fingerprints."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    plain = [float(one) for one in numbers if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(plain) != len(numbers) or len(plain) not in (1, 3) or not all(map(math.isfinite, plain)):
        raise ValueError("expected one number, or three in the network's colour order, in units of 0 to 255")
    return (plain[0], plain[1], plain[2]) if len(set(plain)) > 1 else plain[0]


def _positive(value: float | tuple[float, float, float]) -> float | tuple[float, float, float]:
    if min(value if isinstance(value, tuple) else (value,)) <= 0:
        raise ValueError("expected numbers greater than 0")
    return value


def _known_template(name: str) -> str:
    try:
        template_named(name)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return name


PerChannel = Annotated[
    float | tuple[float, float, float],
    PlainValidator(_one_or_three),
    PlainSerializer(lambda numbers: numbers, return_type=Any),
]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Probe(_Facts):
    """One picture made by arithmetic and the feature that the recogniser must give for it.

    Attributes:
        kind: how the picture is made; see ``avih.recognisers.probe.probe_picture``.
        step: how many waves the picture has from top to bottom.
        expected: the first values of the unit-norm feature, or all of them.
        tolerance: the largest absolute difference that still counts as the same feature.
    """

    kind: Literal["waves"] = "waves"
    step: Annotated[int, Field(ge=1, le=16)] = 2
    expected: Numbers
    tolerance: Annotated[float, Field(gt=0.0, le=0.01)] = 1e-3


class RecogniserCard(_Facts):
    """The facts of one service model, read from a TOML file.

    Attributes:
        name: the recogniser's name, as commands and records show it.
        architecture: a name listed in ``avih.recognisers.registry``, ``torchscript``, ``torchvision:NAME``,
            ``timm:NAME`` or ``python:MODULE:FACTORY``.
        description: one sentence for people.
        input_height: pixels.
        input_width: pixels.
        colour_order: the order in which the network was given its channels; photos are always RGB outside.
        mean: subtracted from each pixel, in units of 0 to 255; one number, or three in ``colour_order``.
        std: what the difference is divided by, in units of 0 to 255; one number, or three likewise.
        feature_size: length of the feature.
        template: the five-point alignment template, named by its height x width; see ``avih.face_templates``.
        weights: the weights file; in the TOML file relative to the card's folder, here absolute.
        address: where the file can be fetched (https or file), if anywhere.
        sha256: SHA-256 of the weights file.
        state_key: where the tensors are inside a training checkpoint, for instance ``"state_dict"``.
        state_prefix: prefix of the tensor names inside a training checkpoint, for instance ``"model."``.
        ignored: prefixes of tensors that only training needs, for instance the classification head.
        probe: see ``Probe``; a card without one is loaded with a warning.
        licence: the terms of the weights.
        source: who published the weights.
        citation: the paper.
        similarity_threshold: the cosine above which the publisher calls two photos the same person.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    architecture: str
    description: str
    input_height: Annotated[int, Field(ge=16, le=1024)]
    input_width: Annotated[int, Field(ge=16, le=1024)]
    colour_order: Literal["RGB", "BGR"]
    mean: PerChannel
    std: Annotated[PerChannel, AfterValidator(_positive)]
    feature_size: Annotated[int, Field(ge=2, le=4096)]
    template: Annotated[str, AfterValidator(_known_template)]
    weights: Annotated[Path | None, Field(strict=False)] = None
    address: Annotated[str | None, Field(pattern=r"^(https|file)://")] = None
    sha256: Sha256 | None = None
    state_key: str | None = None
    state_prefix: str = ""
    ignored: Names = ()
    probe: Probe | None = None
    licence: str = "unknown"
    source: str = "unknown"
    citation: str = ""
    similarity_threshold: Annotated[float | None, Field(gt=-1.0, lt=1.0)] = None
    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path | None:
        """The folder of the card's file, beside which the module of a ``python:`` architecture is."""
        return self._folder

    @model_validator(mode="after")
    def _facts_agree(self) -> "RecogniserCard":
        if self.template != f"{self.input_height}x{self.input_width}":
            raise ValueError(
                f"template {self.template} and input {self.input_height}x{self.input_width} differ: "
                "give the template of the input's size"
            )
        if self.address is not None and self.sha256 is None:
            raise ValueError("a card with an address needs the sha256 of what is fetched there")
        if self.probe is not None and len(self.probe.expected) > self.feature_size:
            raise ValueError(f"the probe expects {len(self.probe.expected)} values of {self.feature_size}")
        return self


def bundled_cards() -> list[str]:
    """List the names of the cards that come with the package."""
    return sorted(path.stem for path in CARDS_FOLDER.glob("*.toml"))


def read_card(name_or_path: str | Path) -> RecogniserCard:
    """Read a bundled card by its name, or any card by the path of its ``.toml`` file.

    Raises:
        UsageError: no such card, not a TOML file, an unknown field, a missing field or a value of
            another type.
    """
    path = _card_path(name_or_path)
    try:
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"Expected a recogniser card at {path}, found no file: check the path.") from None
    except OSError as error:
        raise UsageError(f"Cannot read the recogniser card {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"Expected TOML in the recogniser card {path}: {error}.") from None
    if isinstance(fields.get("weights"), str):
        fields["weights"] = (path.parent / fields["weights"]).resolve()
    try:
        card = RecogniserCard.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"The recogniser card {path} cannot be used: {_in_words(error)}.") from None
    card._folder = path.parent.resolve()
    return card


def _card_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return path
    bundled = CARDS_FOLDER / f"{name_or_path}.toml"
    if str(name_or_path) not in bundled_cards():
        raise UsageError(
            f"Expected the name of a bundled recogniser card, got {str(name_or_path)!r}: use one of "
            f"{', '.join(bundled_cards())}, or the path of a .toml file."
        )
    return bundled


def _in_words(error: ValidationError) -> str:
    faults = []
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"])
        got = (
            f" (got {fault['input']!r})"
            if field and fault["type"] not in ("missing", "extra_forbidden")
            else ""
        )
        faults.append(f"{field}: {fault['msg']}{got}" if field else fault["msg"])
    return "; ".join(faults)
