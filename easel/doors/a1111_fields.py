"""What a program asks AUTOMATIC1111's API for, as a request of Easel's.

Clients of that API send every field, most of them at the defaults of diffusion models: what these
generators have no use for is left out and named in the answer, and steps and guidance count where
they are not the clients' defaults. Easel's own options come as an always-on script called "easel".

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/api.py`` and ``modules/api/models.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from easel.doors.a1111_types import Fields, Invalid, typed
from easel.doors.bodies import picture_bytes
from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_IMAGES, SEED_COUNT, CheckedRequest
from pipelines.pipeline import Pipeline
from pipelines.registry import Registry

SCRIPT = "easel"
DEFAULT_DENOISING = 0.75
NEAR_DENOISING = ("init_noise", "init_weight", "difference")  # options that say something alike
DEFAULT_STEPS, DEFAULT_GUIDANCE = (20, 50), 7.0  # of clients and of the API
STEPS = ("num_inference_steps", "iterations", "decoder_steps", "steps")
GUIDANCE = ("guidance_scale", "decoder_guidance_scale")
# What only diffusion models and their web UI have a use for.
USELESS = ("enable_hr", "restore_faces", "tiling", "styles", "refiner_checkpoint",
           "sampler_name", "scheduler", "subseed_strength", "eta")
PICTURES = ("init_images", "mask", "latent_mask", "firstpass_image")
SIDE_PX = 512
MAX_SIDE_PX = 16_384


class Fault(Exception):
    """What is said instead of pictures, as that API says it.

    Args:
        status: of the answer.
        detail: one sentence.
        kind: the exception that the original would have raised.
    """

    def __init__(self, status: int, detail: str, kind: str = "HTTPException") -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind


@dataclass(frozen=True)
class Asked:
    """What a program asks for.

    Attributes:
        request: checked.
        send_images: whether it wants the pictures with the answer.
        fields: of the call, those that did not come at their defaults, without pictures.
        ignored: names of fields that were set and that the generator has no use for.
    """

    request: CheckedRequest[Any]
    send_images: bool
    fields: Mapping[str, Any]
    ignored: tuple[str, ...]


def read_fields(body: Any, is_img2img: bool, chosen: str, registry: Registry) -> Asked:
    """Check the fields of a call.

    Args:
        body: its JSON.
        is_img2img: whether it starts from a picture.
        chosen: the generator that this program chose before.
        registry: the generators.

    Raises:
        Fault: the first fault, as that API says it.
        Invalid: a value of a wrong type or out of bounds.
        InvalidRequest: what only Easel asks of a request.
    """
    fields = typed(body, is_img2img)
    pipeline = _pipeline(fields, chosen, registry)
    if script := fields.get("script_name"):
        raise Fault(422, f"Script '{script[:40]}' not found")
    count = _bounded(fields, "batch_size", 1, 1, MAX_IMAGES) * _bounded(fields, "n_iter", 1, 1,
                                                                        MAX_IMAGES)
    seed = _bounded(fields, "seed", -1, -1, SEED_COUNT - 1)
    options, places, ignored = _options(fields, pipeline)
    ignored += _denoising(fields, pipeline, is_img2img)
    if is_img2img and pipeline.draws_variations and "picture" in pipeline.Options.model_fields:
        options.setdefault("picture", "difference")  # the prompt is what it should become
    image = _init_image(fields, pipeline) if is_img2img else None
    mask = read_picture(fields.get("mask"), "mask") if fields.get("mask") else None
    inverted = _bounded(fields, "inpainting_mask_invert", 0, 0, 1)
    if mask is not None and inverted and "mask_marks" in pipeline.Options.model_fields:
        options.setdefault("mask_marks", "kept")
    try:
        request = registry.check({
            "pipeline": pipeline.name, "prompt": fields.get("prompt") or "", "num_images": count,
            "seed": None if seed == -1 else seed, "init_image": image, "mask": mask,
            "options": options})
    except InvalidRequest as error:
        error.field = places.get(error.field or "", error.field)
        raise
    kept = {name: value for name, value in fields.values.items() if name not in PICTURES}
    return Asked(request, fields.get("send_images") is not False, kept, ignored)


def _pipeline(fields: Fields, chosen: str, registry: Registry) -> Pipeline:
    name = (fields.get("override_settings") or {}).get("sd_model_checkpoint") or chosen
    if name not in registry.names():
        raise Fault(404, "Model not found")
    return registry.get(name)


def _options(fields: Fields, pipeline: Pipeline,
             ) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Values of the generator's options; of which field each is, where that has another name; and
    what was set and has no place among them.
    """
    known = pipeline.Options.model_fields
    found, places_of = dict(_side(fields, pipeline)), {}
    ignored = [name for name in USELESS if fields.get(name)]
    steps, guidance = fields.get("steps"), fields.get("cfg_scale")
    for name, value, defaults, places in (
            ("steps", steps, DEFAULT_STEPS, STEPS),
            ("cfg_scale", guidance, (DEFAULT_GUIDANCE,), GUIDANCE),
            ("negative_prompt", fields.get("negative_prompt") or None, (), ("negative_prompt",))):
        if value is None or value in defaults:
            continue
        place = next((place for place in places if place in known), None)
        if place is None:
            ignored.append(name)
        else:
            found[place], places_of[place] = value, name
    for name, script in (fields.get("alwayson_scripts") or {}).items():
        args = script.get("args", []) if isinstance(script, Mapping) else None
        if name.lower() != SCRIPT:
            raise Fault(422, f"always on script {name[:40]} not found")
        if not isinstance(args, list) or not all(isinstance(each, Mapping) for each in args):
            raise Invalid("Input should be a list of objects with options", "alwayson_scripts")
        for each in args:
            found |= each
    return found, places_of, tuple(ignored)


def _denoising(fields: Fields, pipeline: Pipeline, is_img2img: bool,
               ) -> tuple[str, ...]:
    """What is left out of how much noise a picture gets; a number that somebody chose is refused.

    It says how far a diffusion model goes back before it draws on: nothing of it at 0, nothing of
    the picture at 1. No option here means that, so that none may take the number.

    Raises:
        Invalid: it was chosen, or is no number from 0 to 1.
    """
    value = fields.get("denoising_strength")
    if value is None:
        return ()
    if not 0 <= value <= 1:
        raise Invalid("Input should be a number from 0 to 1", "denoising_strength")
    if is_img2img and value != DEFAULT_DENOISING:
        own = [name for name in NEAR_DENOISING if name in pipeline.Options.model_fields]
        instead = (f"; {' and '.join(own)} of alwayson_scripts' {SCRIPT!r} say how near to the "
                   "picture it stays" if own else "")
        raise Invalid(f"{pipeline.name} draws by no denoising: leave denoising_strength out, or at "
                      f"{DEFAULT_DENOISING}{instead}", "denoising_strength")
    return ("denoising_strength",) if value and "denoising_strength" in fields.sent else ()


def _side(fields: Fields, pipeline: Pipeline) -> Mapping[str, Any]:
    """The options of the size nearest to what is asked for, of those that there are."""
    wanted = (_bounded(fields, "width", SIDE_PX, 1, MAX_SIDE_PX),
              _bounded(fields, "height", SIDE_PX, 1, MAX_SIDE_PX))
    shapes = pipeline.shapes_px()
    if not shapes:
        return {}
    # Of more pixels than there are, the proportions count, not the longest side that there is.
    most = max(width * height for width, height in shapes if width == height)
    shrink = min(1.0, math.sqrt(most / math.prod(wanted)))
    wanted = wanted[0] * shrink, wanted[1] * shrink
    return shapes[min(shapes, key=lambda shape: math.dist(shape, wanted))]


def _init_image(fields: Fields, pipeline: Pipeline) -> bytes:
    images = fields.get("init_images")
    if not images:
        raise Fault(404, "Init image not found")
    if fields.get("mask") and not pipeline.accepts_mask:
        raise Fault(422, f"{pipeline.name} does not paint within a mask")
    if len(images) > 1:
        raise Invalid("List should have at most 1 item", "init_images", kind="too_long")
    return read_picture(images[0], "init_images")


def read_picture(value: Any, field: str) -> bytes:
    """The file in a text of base64.

    Args:
        value: what came.
        field: where it came.

    Raises:
        Fault: it is not one.
        Invalid: it is no text.
    """
    if not isinstance(value, str):
        raise Invalid("Input should be a valid string", field, kind="string_type")
    if value.startswith(("http://", "https://")):
        raise Fault(500, "Requests not allowed")
    try:
        return picture_bytes(value.strip())
    except ValueError:
        raise Fault(500, "Invalid encoded image") from None


def _bounded(fields: Fields, name: str, default: int, low: int, high: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if value < low:
        raise Invalid(f"Input should be greater than or equal to {low}", name,
                      kind="greater_than_equal")
    if value > high:
        raise Invalid(f"Input should be less than or equal to {high}", name, kind="less_than_equal")
    return value
