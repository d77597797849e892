"""Options of a pipeline: frozen, bounded, documented; the page's controls are made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pipelines.core.errors import InvalidRequest
from pipelines.core.sentences import Sentence
from pipelines.core.texts import check_text

Kind = Literal["bool", "int", "float", "choice", "text"]


MANY = 16  # of more choices a refusal names some
AUTO = "auto"  # in place of a value: the pipeline decides, see ``Pipeline.resolve_options``
# By whether the number is whole, and whether there are steps.
_OUT_OF_BOUNDS = {
    (True, True): "{} must be a whole number between {} and {} in steps of {}, not {}.",
    (True, False): "{} must be a whole number between {} and {}, not {}.",
    (False, True): "{} must be a number between {} and {} in steps of {}, not {}.",
    (False, False): "{} must be a number between {} and {}, not {}.",
}
_KINDS: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}


class Options(BaseModel):
    """Base of every pipeline's options.

    A subclass gives each field a default, bounds (``ge``/``le`` or a ``Literal``), a ``title`` and
    a ``description`` of one sentence; ``json_schema_extra={"advanced": True}`` folds a control
    away. One made by ``auto_field`` is left to the pipeline where nobody chose. Unknown names, NaN
    and infinities are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _leave_open(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo,
                    ) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if is_auto(field) and (value is None or (isinstance(value, str) and value == AUTO)):
            return None
        return handler(value)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        return number_or_refused(value, cls.model_fields[info.field_name or ""])


class SavedOptions(Options):
    """Options of a generator that is not here, or that takes others: as they were saved."""

    model_config = ConfigDict(extra="allow")


def auto_field(title: str, description: str, advanced: bool = False, **bounds: Any) -> Any:
    """An option that the pipeline decides where nobody chose.

    It is None ("auto" where people write it) until ``Pipeline.resolve_options``, and never in a
    run, which is why its type does not say so.

    Args:
        title: of the control.
        description: of the control.
        advanced: fold the control away.
        bounds: as of pydantic's ``Field``.
    """
    extra: JsonDict = {AUTO: True, "advanced": True} if advanced else {AUTO: True}
    return Field(default=None, title=title, description=description, json_schema_extra=extra,
                 **bounds)


def is_auto(field: FieldInfo) -> bool:
    """Whether the pipeline decides on an option that nobody chose."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(AUTO))


def number_or_refused(value: Any, field: FieldInfo) -> Any:
    """A value for a field, unless it is true or false where a number is asked for.

    pydantic takes them for 1 and 0.

    Raises:
        PydanticCustomError: it is.
    """
    if isinstance(value, bool) and field.annotation in (int, float, int | None, float | None):
        raise PydanticCustomError("number_type", "a number")
    return value


@dataclass(frozen=True)
class OptionField:
    """One option as a control or a command-line help line shows it.

    Attributes:
        kind: "bool", "int", "float", "choice" or "text".
        default: None where it is automatic.
        minimum: smallest value, None where there is no bound.
        maximum: largest value, None where there is no bound.
        choices: the values of a choice, in order; empty for the other kinds.
        labels: what people read for each of the choices; empty where the values say it.
        step: ``multiple_of`` where the field has one.
        advanced: fold the control away.
        auto: whether the pipeline decides where nobody chose.
    """

    name: str
    title: str
    description: str
    kind: Kind
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    advanced: bool = False
    labels: tuple[str, ...] = ()
    auto: bool = False

    def labelled(self) -> list[tuple[str, Any]]:
        """Label and value of each choice; a value without a label is its own."""
        labels = self.labels or [str(value) for value in self.choices]
        return list(zip(labels, self.choices, strict=True))


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation)
    for plain in get_args(annotation) or (annotation,):
        if plain in (bool, int, float, str):
            return _KINDS[plain], ()
    raise TypeError(f"no control is known for an option of type {annotation}")


def _bound(info: FieldInfo, *names: str) -> float | None:
    for constraint in info.metadata:
        for name in names:
            if (value := getattr(constraint, name, None)) is not None:
                return value
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@lru_cache(maxsize=256)
def option_fields(options: type[Options]) -> tuple[OptionField, ...]:
    """Describe the options of a pipeline, in the order of their definition.

    Raises:
        TypeError: if a field lacks a description or a default, or has a type without a control.
    """
    found = []
    for name, info in options.model_fields.items():
        if not info.description or info.is_required():
            raise TypeError(f"option {options.__name__}.{name} needs a description and a default")
        kind, choices = _kind(info.annotation)
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        found.append(OptionField(
            name=name, title=info.title or name.replace("_", " ").capitalize(),
            description=info.description, kind=kind, default=info.get_default(),
            minimum=_bound(info, "ge", "gt"), maximum=_bound(info, "le", "lt"),
            step=_bound(info, "multiple_of"), choices=choices,
            advanced=bool(extra.get("advanced", False)),
            labels=tuple(str(label) for label in _list(extra.get("labels"))), auto=is_auto(info),
        ))
    return tuple(found)


def _shown(value: Any) -> str:
    """The value as a person typed it, short and on one line."""
    if value is None:
        return "empty"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    try:
        text = " ".join(repr(value).split()) if isinstance(value, str) else str(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 40 else text[:37] + "…"


def written_number(value: float) -> str:
    """A number as people write it, whole where it is whole: 4294967295, 0.00001, 2."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))


# What a value should have been, by the first word of pydantic's name for the fault.
_KINDS_OF_VALUES = {"string": "text", "dict": "an object", "mapping": "an object",
                    "tuple": "a list", "list": "a list", "bytes": "a file",
                    "int": "a whole number", "float": "a number", "finite": "a number"}


def sentence(error: ValidationError, model: type[BaseModel]) -> tuple[Sentence, str | None]:
    """The first fault of a pydantic error as one sentence, and the name of its field."""
    fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0]) if fault["loc"] else None
    if name is None:
        return Sentence("The request is not valid: {}.", fault["msg"]), None
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return Sentence("There is no option called {}; there are: {}.", _shown(name), known), name
    info = model.model_fields.get(name)
    title = (info.title if info else None) or name.replace("_", " ").capitalize()
    if fault["type"] == "missing":
        return Sentence("{} is missing.", title), name
    if fault["type"] == "value_error":
        raised = fault.get("ctx", {}).get("error")
        said = raised.args[0] if raised is not None and raised.args else fault["msg"]
        return said if isinstance(said, Sentence) else Sentence(str(said)), name
    low = _bound(info, "ge", "gt") if info else None
    high = _bound(info, "le", "lt") if info else None
    shown = _shown(fault["input"])
    annotation = info.annotation if info else None
    if annotation not in (str, bool) and low is not None and high is not None:
        step = _bound(info, "multiple_of") if info else None
        template = _OUT_OF_BOUNDS[annotation in (int, int | None), bool(step)]
        bounds = [written_number(each) for each in (low, high, step) if each is not None]
        return Sentence(template, title, *bounds, shown), name
    if fault["type"] == "string_too_long":
        most = fault.get("ctx", {}).get("max_length", 0)
        return Sentence("{} has {:,} characters; {:,} is the most.", title, len(fault["input"]),
                        most), name
    if fault["type"].startswith("bool"):
        return Sentence("{} must be true or false, not {}.", title, shown), name
    if fault["type"] == "too_long":
        most = fault.get("ctx", {}).get("max_length", 0)
        return Sentence("{}: {:,} are too many; {:,} is the most.", title, len(fault["input"]),
                        most), name
    choices = get_args(annotation) if fault["type"] == "literal_error" else ()
    if len(choices) > MANY:
        return Sentence("{} must be one of {} values, such as {}, not {}.", title, len(choices),
                        ", ".join(map(repr, choices[:MANY // 2])), shown), name
    extra = info.json_schema_extra if info and isinstance(info.json_schema_extra, dict) else {}
    wanted = extra.get("wanted") or _KINDS_OF_VALUES.get(fault["type"].split("_")[0]) or (
        fault["msg"].removeprefix("Input should be ").removeprefix("a valid "))
    if title.count(" ") > 2:  # a title that is a sentence already
        return Sentence("{}: it must be {}, not {}.", title, wanted, shown), name
    return Sentence("{} must be {}, not {}.", title, wanted, shown), name


def parse_options(options: type[Options], raw: Mapping[str, Any]) -> Options:
    """Validate option values.

    Args:
        options: the pipeline's ``Options``.
        raw: values by name; what is left out takes its default.

    Raises:
        InvalidRequest: one sentence about the first fault, with the name of its field.
    """
    try:
        checked = options.model_validate(dict(raw))
    except ValidationError as error:
        message, name = sentence(error, options)
        raise InvalidRequest(message, field=name) from None
    for name in raw:  # pydantic refuses half characters itself
        if isinstance(value := getattr(checked, name, None), str):
            check_text(value, options.model_fields[name].title or name, name)
    return checked
