"""What a picture's file says about itself, and how it is read back.

Two PNG text chunks: ``parameters`` is the convention of AUTOMATIC1111's web UI, which other tools
read; ``easel`` is JSON with everything that it takes to draw the picture again. Both are data:
whoever shows them escapes them.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/infotext_utils.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.core.errors import EaselError, InvalidImage, reason
from pipelines.core.events import Candidate, Result
from pipelines.core.files import safe_stem
from pipelines.core.images import open_image
from pipelines.core.infotext import parse_parameters
from pipelines.core.new_files import write_new
from pipelines.core.png_chunks import is_png, png_texts
from pipelines.core.request import IMAGE_PROMPT, CheckedRequest
from pipelines.core.version import __version__

LIBRARIES = ("torch", "open_clip_torch", "taming-transformers", "numpy", "pillow")
# Names of A1111 for what our pipelines call otherwise; the rest keeps its own name.
_A1111_NAMES = {"iterations": "Steps", "num_inference_steps": "Steps",
                "guidance_scale": "CFG scale"}


def versions() -> dict[str, str]:
    """Versions of Easel, Python and the libraries that pictures depend on."""
    return dict(_versions())  # whoever changes it changes its own


@cache  # looked up among all that is installed: a twentieth of what a small run costs a server
def _versions() -> dict[str, str]:
    found = {"easel": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(request: CheckedRequest[Any], weights: Mapping[str, str | None],
               ) -> dict[str, Any]:
    """The facts of a run, JSON-ready.

    Args:
        request: as it ran.
        weights: SHA-256 of the weights in use, by model id.
    """
    facts: dict[str, Any] = {
        "pipeline": request.pipeline, "prompt": request.prompt, "num_images": request.num_images,
        "run_seed": request.seed, "options": request.options.model_dump(), "weights": dict(weights),
        "versions": versions(),
    }
    facts |= picture_hashes(request)
    if request.parents:
        facts["parents"] = list(request.parents)
    return facts


def picture_hashes(request: CheckedRequest[Any]) -> dict[str, Any]:
    """SHA-256 of the picture files that a request brought, as its facts name them."""
    facts: dict[str, Any] = {}
    for name, data in request.pictures.items():
        digest = hashlib.sha256(data).hexdigest()
        if name.startswith(IMAGE_PROMPT):
            facts.setdefault("image_prompts_sha256", []).append(digest)
        else:
            facts[f"{name}_sha256"] = digest
    return facts


def picture_metadata(result: Result, candidate: Candidate) -> dict[str, Any]:
    """Everything to keep with one picture: the run's facts and its own, JSON-ready."""
    height_px, width_px = candidate.image.shape[:2]
    return {**result.metadata, **candidate.metadata, "seed": candidate.seed,
            "index": candidate.index, "scores": dict(candidate.scores),
            "width_px": width_px, "height_px": height_px, "elapsed_s": round(result.elapsed_s, 3)}


def _quoted(value: Any) -> str:
    """A value of the last line; those that would break it apart become JSON strings."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n\r"]', text) else text


def format_parameters(metadata: Mapping[str, Any]) -> str:
    """The ``parameters`` text of a picture.

    Args:
        metadata: as ``picture_metadata`` makes it.
    """
    options = dict(metadata.get("options", {}))
    negative = str(options.pop("negative_prompt", "") or "")
    pairs = {_A1111_NAMES.get(name, name): value for name, value in options.items()
             if value not in (None, "")}
    pairs = {**{name: pairs.pop(name) for name in ("Steps", "CFG scale") if name in pairs},
             "Seed": metadata.get("seed"),
             "Size": f"{metadata.get('width_px')}x{metadata.get('height_px')}",
             "Model": metadata.get("pipeline"), **pairs, "Version": f"Easel {__version__}"}
    lines = [str(metadata.get("prompt", ""))]
    if negative:
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()))
    return "\n".join(lines)


def encode_png(image: np.ndarray, metadata: Mapping[str, Any]) -> bytes:
    """A PNG file with its metadata.

    Args:
        image: (H, W, 3) uint8 RGB.
        metadata: JSON-ready, as ``picture_metadata`` makes it.

    Raises:
        ValueError: the metadata holds NaN or what JSON cannot say.
    """
    chunks = PngInfo()
    chunks.add_text("parameters", format_parameters(metadata))
    chunks.add_text("easel", json.dumps(metadata, allow_nan=False))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def png_of(result: Result, candidate: Candidate) -> bytes:
    """The file of a finished picture: the one that was recorded, so that there is one everywhere.

    Args:
        result: what the picture is one of.
        candidate: the picture.
    """
    return candidate.png or encode_png(candidate.image, picture_metadata(result, candidate))


def save_png(path: Path, image: np.ndarray, metadata: Mapping[str, Any]) -> Path:
    """Write a PNG file with its metadata; see ``write_png``."""
    return write_png(path, encode_png(image, metadata))


def write_png(path: Path, data: bytes) -> Path:
    """Write a picture's file whole or not at all, and over no other.

    Returns:
        Its path; with a number where there was a file of that name.

    Raises:
        EaselError: the file cannot be written.
    """
    try:
        return write_new(path, data)
    except OSError as error:
        raise EaselError("The picture {} could not be written: {}.", path.name,
                         reason(error)) from error


def read_png(data: bytes) -> dict[str, Any]:
    """The metadata of a PNG file.

    Args:
        data: the file, from anyone.

    Returns:
        "easel": our JSON, {} where there is none that is valid; "parameters": the pairs of
        ``parse_parameters``, {} where there is no such chunk.

    Raises:
        InvalidImage: the file is not a PNG, is too large, or its pixels are damaged.
    """
    if not is_png(data):
        raise InvalidImage("The file is not a PNG picture, or it is damaged.")
    open_image(data)
    texts = png_texts(data)
    try:
        ours = json.loads(texts.get("easel", "{}"))
    except (ValueError, RecursionError):
        ours = {}
    parameters = texts.get("parameters")
    return {"easel": ours if isinstance(ours, dict) else {},
            "parameters": parse_parameters(parameters) if parameters else {}}


def picture_name(metadata: Mapping[str, Any]) -> str:
    """File name of a picture: its prompt in plain letters, its generator and its seed."""
    prompt = safe_stem(str(metadata.get("prompt", "")))
    pipeline = safe_stem(str(metadata.get("pipeline", "")), "easel")
    return f"{prompt}-{pipeline}-{int(metadata.get('seed', 0))}.png"
