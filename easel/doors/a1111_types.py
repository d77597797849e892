"""The fields of AUTOMATIC1111's API with their types and defaults, checked as the original does.

The original lets pydantic read them, so that a whole number may come as text or with a point, null
stands for the default of most, and what is no field of its own is left out.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/models.py`` and
``modules/processing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError, ValidationInfo, create_model, field_validator

from pipelines.core.options import number_or_refused

_DRAWS: dict[Any, dict[str, Any]] = {
    str | None: {
        "prompt": "", "negative_prompt": "", "sampler_name": None, "scheduler": None,
        "sampler_index": "Euler", "script_name": None, "refiner_checkpoint": None,
        "force_task_id": None, "infotext": None},
    int | None: {
        "seed": -1, "subseed": -1, "seed_resize_from_h": -1, "seed_resize_from_w": -1,
        "batch_size": 1, "n_iter": 1, "steps": 50, "width": 512, "height": 512},
    float | None: {
        "subseed_strength": 0.0, "cfg_scale": 7.0, "eta": None, "denoising_strength": 0.75,
        "s_min_uncond": None, "s_churn": None, "s_tmax": None, "s_tmin": None, "s_noise": None,
        "refiner_switch_at": None},
    bool | None: {
        "restore_faces": None, "tiling": None, "do_not_save_samples": False,
        "do_not_save_grid": False, "override_settings_restore_afterwards": True,
        "disable_extra_networks": False, "send_images": True, "save_images": False},
    list[str] | None: {"styles": None},
    list[Any] | None: {"script_args": []},
    dict[str, Any] | None: {"override_settings": None, "comments": None, "alwayson_scripts": {}}}
_FROM_TEXT: dict[Any, dict[str, Any]] = {
    str | None: {
        "hr_upscaler": None, "hr_checkpoint_name": None, "hr_sampler_name": None,
        "hr_scheduler": None, "hr_prompt": "", "hr_negative_prompt": "", "firstpass_image": None},
    int | None: {
        "firstphase_width": 0, "firstphase_height": 0, "hr_second_pass_steps": 0, "hr_resize_x": 0,
        "hr_resize_y": 0},
    float | None: {"hr_scale": 2.0},
    bool | None: {"enable_hr": False}}
_FROM_PICTURE: dict[Any, dict[str, Any]] = {
    str | None: {"mask": None, "latent_mask": None},
    int | None: {
        "resize_mode": 0, "mask_blur": None, "mask_blur_x": 4, "mask_blur_y": 4,
        "inpainting_fill": 0, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0},
    float | None: {"image_cfg_scale": None, "initial_noise_multiplier": None},
    bool | None: {
        "mask_round": True, "inpaint_full_res": True, "include_init_images": False},
    list[Any] | None: {"init_images": None}}


class Invalid(Exception):
    """A field with a wrong value, as FastAPI says it.

    Args:
        message: what it should be.
        place: its name, and where in it the fault is; nothing for the body itself.
        kind: pydantic's name of the fault.
    """

    def __init__(self, message: str, *place: str | int, kind: str = "value_error") -> None:
        super().__init__(message)
        self.place, self.kind = place, kind


@dataclass(frozen=True)
class Fields:
    """What a call asks for.

    Attributes:
        values: of every field that the original has.
        sent: names of those that came.
    """

    values: Mapping[str, Any]
    sent: frozenset[str]

    def get(self, name: str) -> Any:
        """The value of a field; None where null came, or where the call has no such field."""
        return self.values.get(name)


def typed(body: Any, is_img2img: bool) -> Fields:
    """The fields in the body of a call.

    Args:
        body: JSON.
        is_img2img: whether the call starts from a picture.

    Raises:
        Invalid: it is no object, or a field has another type.
    """
    if not isinstance(body, dict):
        raise Invalid("Input should be a valid dictionary", kind="dict_type")
    try:
        found = _MODELS[is_img2img].model_validate(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        raise Invalid(fault["msg"], *fault["loc"], kind=fault["type"]) from None
    return Fields(found.model_dump(), frozenset(found.model_fields_set))


def _number(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    return number_or_refused(value, cls.model_fields[info.field_name or ""])


def _model(name: str, *tables: Mapping[Any, Mapping[str, Any]]) -> type[BaseModel]:
    fields: dict[str, Any] = {field: (kind, default) for table in tables
                              for kind, defaults in table.items()
                              for field, default in defaults.items()}
    numbers: Any = field_validator("*", mode="before")(classmethod(_number))
    return create_model(name, __validators__={"numbers": numbers}, **fields)


_MODELS = {False: _model("StableDiffusionProcessingTxt2Img", _DRAWS, _FROM_TEXT),
           True: _model("StableDiffusionProcessingImg2Img", _DRAWS, _FROM_PICTURE)}
