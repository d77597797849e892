"""What a picture's file says of how it was made, whoever made it: Easel, A1111, InvokeAI, ComfyUI.

Files come from anyone: nothing in them is trusted, and whoever shows what they say escapes it.

Sources: AUTOMATIC1111/stable-diffusion-webui, ``modules/images.py`` (PNG text ``parameters``; EXIF
UserComment in JPEG and WebP); invoke-ai/InvokeAI, ``image_files_disk.py`` (PNG text
``invokeai_metadata``; ``sd-metadata`` before version 3); comfyanonymous/ComfyUI, ``nodes.py``
and ``comfy_extras/nodes_images.py`` (PNG text ``prompt`` and ``workflow``; EXIF Make and Model in
WebP).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image, UnidentifiedImageError

from easel.history.comfyui import read_graph, read_workflow
from pipelines.core.errors import InvalidImage
from pipelines.core.images import FORMATS, MAX_BYTES, MAX_PIXELS
from pipelines.core.metadata import parse_parameters
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
EXIF_TEXTS = (0x010E, 0x010F, 0x0110)  # ImageDescription, Make, Model
MAX_LEFT_CHARS = 80


@dataclass(frozen=True)
class Recalled:
    """How a picture was made.

    Attributes:
        tool: who made it, as people call it.
        prompt: what was asked for, at most 500 characters.
        negative_prompt: what should not be there; empty for nothing.
        seed: 0..2**32-1; None where it is not known or too large for Easel.
        pipeline: name of Easel's generator; empty for another tool's.
        num_images: pictures of the run; None for another tool's.
        options: values by the names of Easel's options, not checked.
        other: what has no name in Easel, as label and value.
        cut: whether the prompt was longer than it may be.
    """

    tool: str
    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    pipeline: str = ""
    num_images: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    other: tuple[tuple[str, str], ...] = ()
    cut: bool = False


def recall(data: bytes) -> Recalled:
    """Read a PNG, JPEG or WebP file.

    Raises:
        InvalidImage: it is none of these, or says nothing of how it was made.
    """
    texts = read_texts(data)
    for read in (_easel, _invokeai, _a1111, _comfyui):
        found = read(texts)
        if found is not None:
            return _checked(found)
    raise InvalidImage("The picture does not say how it was made: Easel, A1111, InvokeAI and "
                       "ComfyUI write that into their files, and many sites remove it.")


def recalled_from_facts(facts: Mapping[str, Any]) -> Recalled:
    """The same for the facts that the history keeps of a picture."""
    found = _easel({"easel": json.dumps(dict(facts))})
    return _checked(found or Recalled("Easel"))


def read_texts(data: bytes) -> dict[str, str]:
    """Every text of a picture's file by its name.

    Raises:
        InvalidImage: it is not a PNG, JPEG or WebP file.
    """
    if len(data) > MAX_BYTES:
        raise InvalidImage(f"The picture has more than {MAX_BYTES // 2**20} MB.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.format not in FORMATS:
                raise InvalidImage("The file is not a PNG, JPEG or WebP picture.")
            if image.format == "PNG" and image.width * image.height <= MAX_PIXELS:
                _load_all(image)  # texts may come after the pixels
            texts = {str(key): value for key, value in image.info.items()
                     if isinstance(value, str)}
            return {**_exif_texts(image), **texts}
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError,
            Image.DecompressionBombError):
        raise InvalidImage("The file is not a PNG, JPEG or WebP picture.") from None


def _load_all(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, SyntaxError):  # cut short: what came before the pixels is enough
        return


def _exif_texts(image: Image.Image) -> dict[str, str]:
    exif = Image.Exif()  # not getexif(), which would read on to the end of a damaged file
    exif.load(image.info.get("exif", b""))
    texts = {}
    for tag in EXIF_TEXTS:
        name, colon, text = _plain(exif.get(tag, "")).partition(":")
        if colon and text.strip().startswith("{"):
            texts[name.strip().lower()] = text.strip()
    if comment := _user_comment(exif.get_ifd(EXIF_IFD).get(USER_COMMENT, b"")):
        texts["parameters"] = comment
    return texts


def _plain(value: Any) -> str:
    """Text of an EXIF tag; UTF-8 where it is, though the standard knows ASCII alone."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        return str(value).encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return str(value)


def _user_comment(value: Any) -> str:
    """Text of a UserComment: eight bytes name its character code."""
    if not isinstance(value, bytes):
        return _plain(value)
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0":
        # The order of bytes is not said; in most texts the high bytes are zeros.
        big = body[0::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", "replace").lstrip("\ufeff")
    return (body if code in (b"ASCII\0\0\0", bytes(8)) else value).decode("utf-8", "replace")


# One reader a tool; each gives None where the file is not that tool's. -----------------------


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _easel(texts: Mapping[str, str]) -> Recalled | None:
    facts = _json(texts.get("easel"))
    if "prompt" not in facts:
        return None
    options = facts.get("options")
    count = facts.get("num_images")
    return Recalled("Easel", _text(facts["prompt"]), seed=_seed(facts.get("seed")),
                    pipeline=_text(facts.get("pipeline", "")),
                    num_images=count if isinstance(count, int) else None,
                    options=options if isinstance(options, dict) else {})


def _a1111(texts: Mapping[str, str]) -> Recalled | None:
    parameters = texts.get("parameters", "")
    if not parameters or parameters.lstrip().startswith("{"):
        return None
    pairs = parse_parameters(parameters)
    return Recalled(
        "A1111", pairs.pop("Prompt"), pairs.pop("Negative prompt"), _seed(pairs.pop("Seed", None)),
        options=_numbers(steps=pairs.pop("Steps", None), scale=pairs.pop("CFG scale", None)),
        other=tuple(pairs.items()))


def _invokeai(texts: Mapping[str, str]) -> Recalled | None:
    if facts := _json(texts.get("invokeai_metadata")):
        model = facts.get("model")
        if isinstance(model, dict):
            model = model.get("name") or model.get("model_name")
        scale = facts.get("cfg_scale", facts.get("guidance"))
        return Recalled(
            "InvokeAI", _text(facts.get("positive_prompt")), _text(facts.get("negative_prompt")),
            _seed(facts.get("seed")), options=_numbers(facts.get("steps"), scale),
            other=_others({**facts, "model": model}, "model", "scheduler", "width", "height"))
    facts = _json(texts.get("sd-metadata"))
    image = facts.get("image")
    if not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):  # parts with weights
        prompt = ", ".join(_text(part.get("prompt")) for part in prompt if isinstance(part, dict))
    return Recalled(
        "InvokeAI", _text(prompt), "", _seed(image.get("seed")),
        options=_numbers(image.get("steps"), image.get("cfg_scale")),
        other=_others({"model": facts.get("model_weights"), **image}, "model", "sampler", "width",
                      "height"))


def _comfyui(texts: Mapping[str, str]) -> Recalled | None:
    found = read_graph(_json(texts.get("prompt"))) or read_workflow(_json(texts.get("workflow")))
    if found is None:
        return None
    return Recalled("ComfyUI", found.positive, found.negative, _seed(found.settings.get("seed")),
                    options=_numbers(found.settings.get("steps"), found.settings.get("cfg")),
                    other=_others(found.settings, "model", "sampler_name", "scheduler", "width",
                                  "height"))


# What the readers share ----------------------------------------------------------------------


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _seed(value: Any) -> int | None:
    try:
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seed if 0 <= seed < SEED_COUNT else None


def _numbers(steps: Any, scale: Any) -> dict[str, float]:
    """Steps and guidance scale under the names that Easel's generators give them."""
    found = {}
    for name, value in (("num_inference_steps", steps), ("guidance_scale", scale)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            found[name] = int(number) if number.is_integer() else number
    return found


def _others(facts: Mapping[str, Any], *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", " ").capitalize(), str(facts[name])) for name in names
                 if isinstance(facts.get(name), str | int | float))


def _checked(found: Recalled) -> Recalled:
    """Texts without what no prompt may hold, none of them longer than it may be."""
    prompt, negative = (_clean(text) for text in (found.prompt, found.negative_prompt))
    other = tuple((_clean(label)[:MAX_LEFT_CHARS], _clean(value)[:MAX_LEFT_CHARS])
                  for label, value in found.other)
    return replace(found, prompt=prompt[:MAX_PROMPT_CHARS], other=other,
                   negative_prompt=negative[:MAX_PROMPT_CHARS], pipeline=found.pipeline[:64],
                   cut=len(prompt) > MAX_PROMPT_CHARS)


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "ignore").decode().strip()
