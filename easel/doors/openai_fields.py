"""What a program asks OpenAI's images API for, as a request of Easel's.

Source: OpenAI's API reference, "Images": create image, create image edit, create image variation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from easel.doors.bodies import picture_bytes
from easel.doors.openai_errors import (
    Refusal,
    missing,
    no_such_model,
    not_among,
    out_of_bounds,
    too_many,
    unknown,
    unsupported,
    wrong_type,
)
from easel.guard.text_door import first_fault
from pipelines.core.json_values import read_json
from pipelines.core.options import parse_options
from pipelines.core.request import MAX_IMAGES, MAX_PROMPT_CHARS, SEED_COUNT, CheckedRequest
from pipelines.pipeline import Pipeline, Preset
from pipelines.registry import Registry

Endpoint = Literal["generations", "edits", "variations"]
MAX_N = min(10, MAX_IMAGES)
MAX_PARTIAL = 3
VARIATION = "a variation"  # where there is no prompt
COMMON = ("model", "n", "size", "response_format", "user", "seed", "options")
CREATE = ("prompt", "quality", "style", "background", "moderation", "output_format",
          "output_compression", "stream", "partial_images", "safety_identifier")
FIELDS: dict[Endpoint, tuple[str, ...]] = {
    "generations": (*COMMON, *CREATE),
    "edits": (*COMMON, *CREATE, "image", "images", "mask", "input_fidelity"),
    "variations": (*COMMON, "image")}
# Values that mean what these generators do anyway; others would ask for what they cannot do.
ALLOWED = {"response_format": ("url", "b64_json"), "background": ("opaque", "auto"),
           "output_format": ("png",), "moderation": ("low", "auto"),
           "style": ("vivid", "natural"), "input_fidelity": ("low", "high"),
           "quality": ("auto", "low", "medium", "high", "standard", "hd")}
# What OpenAI calls a quality is a preset, where the generator has one of that name.
PRESETS = {"low": "draft", "high": "best", "hd": "best"}
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
SHOWN_SIZES = 3  # beside the squares, to who asks for one that there is not
WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)
WHOLES = ("n", "seed", "partial_images", "output_compression")


@dataclass(frozen=True)
class Asked:
    """What a program asks for.

    Attributes:
        request: checked.
        by_url: whether pictures are to be fetched from an address, not sent along.
        stream: whether pictures in the making are wanted.
        partial_images: how many of them.
        drawn: how many pictures are drawn to give those that are asked for.
    """

    request: CheckedRequest[Any]
    by_url: bool
    stream: bool
    partial_images: int
    drawn: int


def read_fields(fields: Any, endpoint: Endpoint, registry: Registry, is_form: bool = False,
                ) -> Asked:
    """Check the fields of a call.

    Args:
        fields: as JSON or a form brought them; of a form all values are texts, objects of
            texts, or lists of files.
        endpoint: which one was called.
        registry: the generators.
        is_form: whether texts may stand for numbers, truths and objects, as they must in a form.

    Raises:
        Refusal: the first fault, as OpenAI says it.
        InvalidRequest: what only Easel asks of a request.
    """
    if not isinstance(fields, dict):
        raise Refusal(400, "The body must be an object.", None, "invalid_type")
    fields = {name: _of_form(name, value) if is_form else value
              for name, value in fields.items() if value is not None}
    if strange := next((name for name in fields if name not in FIELDS[endpoint]), None):
        raise unknown(str(strange))
    for name, allowed in ALLOWED.items():
        if (value := _text(fields, name)) is not None and value not in allowed:
            raise not_among(name, value, allowed)
    for name in ("user", "safety_identifier"):
        _text(fields, name)
    _whole(fields, "output_compression", 0, 100)
    pipeline = _pipeline(_text(fields, "model"), endpoint, registry)
    if "mask" in fields and not pipeline.accepts_mask:
        raise unsupported("mask")
    count = _whole(fields, "n", 1, MAX_N)
    seed = _whole(fields, "seed", 0, SEED_COUNT - 1)
    size = _text(fields, "size") or "auto"
    image = None if endpoint == "generations" else _image(fields)
    mask = _one_picture(fields, "mask") if "mask" in fields else None
    stream = _truth(fields, "stream")
    partial = _whole(fields, "partial_images", 0, MAX_PARTIAL) or 0
    options = _object(fields, "options")
    preset = pipeline.presets.get(PRESETS.get(_text(fields, "quality") or "", ""), Preset())
    options = {**preset.options, **_meant(pipeline, endpoint), **options}
    options |= side_options(pipeline, size, options)
    request = registry.check({
        "pipeline": pipeline.name, "prompt": _prompt(fields, endpoint), "seed": seed,
        "num_images": 1 if count is None else count, "init_image": image, "mask": mask,
        "options": options})
    return Asked(request, _text(fields, "response_format") == "url", stream, partial,
                 max(preset.best_of, request.num_images))


def side_options(pipeline: Pipeline, size: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options by which a generator draws pictures of a size, exactly.

    Args:
        pipeline: the generator.
        size: WIDTHxHEIGHT, or "auto".
        options: the others that were sent; those that say a size must say the same.

    Raises:
        Refusal: it draws none of that size.
        InvalidRequest: an option is none.
    """
    if size == "auto":
        return {}
    resolved = pipeline.resolve_options(parse_options(pipeline.Options, options))
    shapes = {shape: found for shape, found in pipeline.shapes_px(resolved).items()
              if all(options.get(name, value) == value for name, value in found.items())}
    sizes = {f"{width}x{height}": found for (width, height), found in shapes.items()}
    if size not in sizes:
        squares = [f"{width}x{height}" for width, height in shapes if width == height]
        raise not_among("size", size, [*squares, *_near(size, shapes), "auto"])
    return sizes[size]


def _near(size: str, shapes: Iterable[tuple[int, int]]) -> list[str]:
    """The sizes nearest to one that a generator does not draw, of those that are no squares."""
    if not (found := SIZE.fullmatch(size)):
        return []
    wanted = int(found[1]), int(found[2])
    oblongs = [shape for shape in shapes if shape[0] != shape[1]]
    nearest = sorted(oblongs, key=lambda shape: math.dist(shape, wanted))[:SHOWN_SIZES]
    return [f"{width}x{height}" for width, height in nearest]


def takers(registry: Registry, endpoint: Endpoint) -> list[Pipeline]:
    """The generators that an endpoint can use."""
    if endpoint == "edits":
        return [p for p in registry if p.accepts_init_image]
    if endpoint == "variations":
        return [p for p in registry if p.draws_variations]
    return list(registry)


def _pipeline(name: str | None, endpoint: Endpoint, registry: Registry) -> Pipeline:
    able = takers(registry, endpoint)
    if name is None:
        if not able:
            raise Refusal(404, "No generator here does that.", None, "model_not_found")
        return able[0]
    if name not in registry.names():
        raise no_such_model(name)
    if name not in [p.name for p in able]:
        raise not_among("model", name, [p.name for p in able] or ["none"])
    return registry.get(name)


def _meant(pipeline: Pipeline, endpoint: Endpoint) -> Mapping[str, Any]:
    """What says that an edit's prompt is what the picture should become, where that is asked."""
    asks = endpoint == "edits" and pipeline.draws_variations
    return {"picture": "difference"} if asks and "picture" in pipeline.Options.model_fields else {}


def _prompt(fields: Mapping[str, Any], endpoint: Endpoint) -> str:
    prompt = _text(fields, "prompt")
    if prompt is None:
        if endpoint == "variations":
            return VARIATION
        raise missing("prompt")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise Refusal(400, "Invalid 'prompt': string too long. Expected a string with maximum "
                           f"length {MAX_PROMPT_CHARS}, but got a string with length "
                           f"{len(prompt)} instead.", "prompt", "string_above_max_length")
    return prompt


def _image(fields: Mapping[str, Any]) -> bytes:
    """The one picture to start from: a form's file, or an address that holds it."""
    name = "images" if "images" in fields else "image"
    if fields.get(name) is None:
        raise missing("image")
    return _one_picture(fields, name)


def _one_picture(fields: Mapping[str, Any], name: str) -> bytes:
    given = fields[name]
    images = given if isinstance(given, list) else [given]
    if not images:
        raise missing("image")
    if len(images) > 1:
        raise too_many(name, len(images), 1)
    (image,) = images
    if isinstance(image, bytes):
        return image
    text = image.get("image_url") if isinstance(image, Mapping) else image
    if not isinstance(text, str):
        raise wrong_type(name, "a file", image)
    if text.lower().startswith(("http:", "https:")):
        raise Refusal(400, "Easel fetches nothing from other machines: send the file.", name,
                      "invalid_image_url")
    try:
        return picture_bytes(text)
    except ValueError:
        raise Refusal(400, f"Invalid '{name}': expected a base64-encoded image.", name,
                      "invalid_base64") from None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def _of_form(name: str, value: Any) -> Any:
    """What the text of a form says; the text where that is no value of the field's."""
    if not isinstance(value, str):
        return value
    if name in WHOLES and WHOLE.fullmatch(value):
        return int(value)
    if name == "stream" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if name == "options":
        try:
            value = read_json(value)
        except (ValueError, RecursionError):
            raise wrong_type(name, "an object", value) from None
        if (fault := first_fault(value)) is not None:
            raise Refusal(400, str(fault), name, "invalid_value")
    return value


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name, {})
    if not isinstance(value, Mapping):
        raise wrong_type(name, "an object", value)
    return value


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return value


def _whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    if (fault := out_of_bounds(name, value, low, high)) is not None:
        raise fault
    return value
