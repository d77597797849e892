"""How a picture was made, as its file says it, whoever made it: Easel, A1111, InvokeAI, ComfyUI.

Files come from anyone: nothing in them is trusted, and whoever shows what they say escapes it.
What another tool calls by a name that Easel has too means something else: its guidance of 7.5 is
not DALL·E's. So only texts and the seed are taken over from other tools; their numbers are listed.

Sources: AUTOMATIC1111/stable-diffusion-webui, ``modules/images.py`` (PNG text ``parameters``; EXIF
UserComment in JPEG and WebP); ``easel.history.invokeai``; comfyanonymous/ComfyUI, ``nodes.py`` and
``comfy_extras/nodes_images.py`` (PNG text ``prompt`` and ``workflow``; EXIF Make and Model in
WebP).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from easel.history.comfyui import read_graph, read_workflow
from easel.history.file_texts import read_texts
from easel.history.invokeai import read_dream, read_metadata, read_sd_metadata
from pipelines.core.errors import InvalidImage
from pipelines.core.infotext import NEGATIVE, PROMPT, parse_parameters
from pipelines.core.json_values import read_json
from pipelines.core.request import (
    MAX_IMAGE_PROMPTS,
    MAX_IMAGES,
    MAX_PROMPT_CHARS,
    PICTURES,
    SEED_COUNT,
)
from pipelines.core.texts import clean_text, is_short

MAX_LEFT_CHARS, MAX_LEFT = 80, 60
MAX_OPTIONS = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")
# How people write what does not become clear from its name in a file.
LABELS = {"cfg": "CFG scale", "cfg_scale": "CFG scale", "sampler_name": "Sampler"}


@dataclass(frozen=True)
class Recalled:
    """How a picture was made.

    Attributes:
        tool: who made it, as people call it.
        prompt: what was asked for, at most 500 characters; empty where the file names none.
        negative_prompt: what should not be there; empty for nothing.
        seed: 0..2**32-1; None where it is not known or too large for Easel.
        pipeline: name of Easel's generator; empty for another tool's.
        num_images: pictures of the run, 1..16; None for another tool's.
        options: plain values by the names of Easel's options, not checked; empty for another
            tool's, whose numbers mean something else.
        other: what has no place in Easel, as label and value.
        cut: whether the prompt was longer than it may be.
        pictures: SHA-256 of the pictures that the run was given, by field of a request; none for
            another tool's.
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
    pictures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def recall(data: bytes) -> Recalled:
    """Read a PNG, JPEG or WebP file.

    Raises:
        InvalidImage: it is not one of these, or says nothing of how it was made.
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


# One reader a tool; each gives None where the file is not that tool's. -----------------------


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = read_json(text or "{}", parse_int=_whole)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(digits: str) -> int | str:
    """A whole number; of thousands of digits, which Python refuses to read, its text."""
    return int(digits) if len(digits) < 1000 else digits


def _easel(texts: Mapping[str, str]) -> Recalled | None:
    facts = _json(texts.get("easel"))
    if "prompt" not in facts:
        return None
    options, count = facts.get("options"), facts.get("num_images")
    plain: dict[str, Any] = {}
    other = _large_seed(facts.get("seed"))
    for name, value in (options.items() if isinstance(options, dict) else ()):
        if _is_plain(value) and len(plain) < MAX_OPTIONS:
            plain[clean_text(name)[:MAX_LEFT_CHARS]] = (
                clean_text(value) if isinstance(value, str) else value)
        else:
            other += ((name, _shown(value)),)
    known = isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MAX_IMAGES
    return Recalled("Easel", _text(facts["prompt"]), seed=_seed(facts.get("seed")),
                    pipeline=_text(facts.get("pipeline", "")),
                    num_images=count if known else None, options=plain, other=other,
                    pictures={name: found for name in PICTURES
                              if (found := _digests(facts.get(f"{name}_sha256")))})


def _a1111(texts: Mapping[str, str]) -> Recalled | None:
    parameters = texts.get("parameters", "")
    if not parameters or parameters.lstrip().startswith("{"):
        return None
    pairs = parse_parameters(parameters)
    prompt, negative, seed = pairs.pop(PROMPT), pairs.pop(NEGATIVE), pairs.pop("Seed", None)
    return Recalled("A1111", prompt, negative, _seed(seed),
                    other=_large_seed(seed) + tuple(pairs.items()))


def _invokeai(texts: Mapping[str, str]) -> Recalled | None:
    found = (read_metadata(_json(texts.get("invokeai_metadata")))
             or read_sd_metadata(_json(texts.get("sd-metadata")))
             or read_dream(texts.get("Dream", "")))
    if found is None:
        return None
    return Recalled("InvokeAI", found.positive, found.negative, _seed(found.facts.get("seed")),
                    other=_others(found.facts, "steps", "cfg_scale", "guidance", "model",
                                  "scheduler", "sampler", "width", "height",
                                  "positive_style_prompt", "negative_style_prompt"))


def _comfyui(texts: Mapping[str, str]) -> Recalled | None:
    found = read_graph(_json(texts.get("prompt")))
    if found is None or not (found.positive or found.negative):
        drawn = read_workflow(_json(texts.get("workflow")))
        found = drawn if drawn is not None and (drawn.positive or found is None) else found
    if found is None:
        return None
    return Recalled("ComfyUI", found.positive, found.negative, _seed(found.settings.get("seed")),
                    other=_others(found.settings, "steps", "cfg", "model", "sampler_name",
                                  "scheduler", "width", "height"))


# What the readers share ----------------------------------------------------------------------


def _digests(value: Any) -> tuple[str, ...]:
    """What a file says of the pictures that it was drawn with, as far as it is of that form."""
    each = value if isinstance(value, list) else [value]
    return tuple(digest for digest in each[:MAX_IMAGE_PROMPTS]
                 if isinstance(digest, str) and _DIGEST.fullmatch(digest))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _seed(value: Any) -> int | None:
    """A seed that Easel can use."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        return None
    try:
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seed if 0 <= seed < SEED_COUNT else None


def _large_seed(value: Any) -> tuple[tuple[str, str], ...]:
    """A seed that Easel cannot use, to be reported."""
    if value is None or value == "" or _seed(value) is not None:
        return ()
    return (("Seed", _shown(value)),)


def _is_plain(value: Any) -> bool:
    """Whether an option may have this value, and JSON can say it."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return is_short(value)
    return value is None or isinstance(value, str)


def _shown(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "…"


def _others(facts: Mapping[str, Any], *names: str) -> tuple[tuple[str, str], ...]:
    """What a tool says beside texts and seed, and a seed that is too large."""
    return _large_seed(facts.get("seed")) + tuple(
        (LABELS.get(name, name.replace("_", " ").capitalize()), _shown(facts[name]))
        for name in names if isinstance(facts.get(name), str | int | float))


def _checked(found: Recalled) -> Recalled:
    """Texts without what no prompt may hold, none of them longer than it may be."""
    prompt, negative = (clean_text(text).strip()
                        for text in (found.prompt, found.negative_prompt))
    other = tuple((clean_text(label).strip()[:MAX_LEFT_CHARS],
                   clean_text(value).strip()[:MAX_LEFT_CHARS])
                  for label, value in found.other[:MAX_LEFT])
    return replace(found, prompt=prompt[:MAX_PROMPT_CHARS], other=other,
                   negative_prompt=negative[:MAX_PROMPT_CHARS],
                   pipeline=clean_text(found.pipeline)[:64], cut=len(prompt) > MAX_PROMPT_CHARS)
