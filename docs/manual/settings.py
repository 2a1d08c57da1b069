"""Reference of the settings, from the models themselves."""

from collections.abc import Iterator
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from avih import settings
from docs.manual.markdown import table

SIGNS = {Ge: ("ge", "at least"), Gt: ("gt", "more than"), Le: ("le", "at most"), Lt: ("lt", "less than"),
         MultipleOf: ("multiple_of", "a multiple of")}  # fmt: skip
INTRODUCTION = """# Settings

Every run writes its settings to `run.json` of its version, and Prefect draws them as a form. The command line
sets the few that people change; the rest comes from the preset. Made from the code.

"""


def settings_page() -> str:
    """Return the page: each model with its fields, defaults and ranges."""
    return INTRODUCTION + "\n".join(_section(model) for model in models())


def models() -> list[type[BaseModel]]:
    """List the models of ``RunSettings`` in its order, itself first, each once."""
    found: list[type[BaseModel]] = []

    def visit(model: type[BaseModel]) -> None:
        if model not in found:
            found.append(model)
            for field in model.model_fields.values():
                for inner in _models_in(field.annotation):
                    visit(inner)

    visit(settings.RunSettings)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _section(model: type[BaseModel]) -> str:
    rows = [(f"`{name}`", f"`{_kind(field)}`", _default(field), _allowed(field), field.description or "")
            for name, field in model.model_fields.items()]  # fmt: skip
    said = (model.__doc__ or "").strip().split("\n\n")[0]
    return f"## {model.__name__}\n\n{said}\n\n" + table(("field", "kind", "default", "allowed", "what"), rows)


def _kind(field: FieldInfo) -> str:
    return _name(field.annotation)


def _name(annotation: Any) -> str:
    if getattr(annotation, "__metadata__", None):
        return _name(annotation.__origin__)
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return "none" if annotation is type(None) else annotation.__name__
    inner = getattr(annotation, "__args__", ())
    if str(annotation).startswith("typing.Literal"):
        return "word"
    if " | " in str(annotation) or str(annotation).startswith("typing.Union"):
        return " or ".join(_name(one) for one in inner)
    name = getattr(annotation, "__name__", str(annotation))
    if name == "Optional":
        return " or ".join(_name(one) for one in inner)
    return f"{name} of {', '.join(_name(one) for one in inner if one is not ...)}" if inner else name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return "none" if value is None else f"`{value!r}`"


def _allowed(field: FieldInfo) -> str:
    words = list(_words(field.annotation))
    words += list(_bounds(field.metadata)) + list(_inner_bounds(field.annotation))
    return "; ".join(dict.fromkeys(words))


def _words(annotation: Any) -> Iterator[str]:
    if str(annotation).startswith("typing.Literal"):
        yield ", ".join(f"`{word}`" for word in annotation.__args__)
        return
    for inner in getattr(annotation, "__args__", ()):
        yield from _words(inner)


def _inner_bounds(annotation: Any) -> Iterator[str]:
    yield from _bounds(getattr(annotation, "__metadata__", ()))
    for inner in getattr(annotation, "__args__", ()):
        yield from _inner_bounds(inner)


def _bounds(metadata: Any) -> Iterator[str]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _bounds(one.metadata)
        elif type(one) in SIGNS:
            attribute, sign = SIGNS[type(one)]
            yield f"{sign} {getattr(one, attribute)}"
