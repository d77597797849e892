"""The endpoints of Codes: the codes of a picture, one of them, and how real their patches look."""

from __future__ import annotations

from math import isfinite
from typing import Any

import gradio as gr

from easel.ui.inside.calls import picture_inputs, read_picture, write_files
from easel.ui.lab.api import stoppable
from easel.ui.lab.lab import Lab
from easel.ui.parts.endpoints import INTEGER, OBJECT, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.pictures import PictureStore
from pipelines.core.errors import InvalidRequest
from pipelines.inside.codes import LookAtCode, Near, ReadCodes
from pipelines.inside.realism import JudgePatches

SWAPS = {"type": "array", "items": {"type": "array", "items": INTEGER}}


def add_code_endpoints(lab: Lab, store: PictureStore) -> None:
    """Add them to the page under construction; see ``add_inside_endpoints``."""
    _add_codes(lab, store)
    _add_patches(lab, store)


def _add_codes(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_codes(request: gr.Request, picture: str | None = None, kept: Any = "",
                     ) -> tuple[dict[str, Any], list[str]]:
        image, made_of = read_picture(lab, request, picture, kept)
        question = ReadCodes(image)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"codes": found.grid.tolist(), "distinct": found.distinct, "count": found.count,
                # JSON has no infinity: null where nothing is lost.
                "psnr_db": found.psnr_db if isfinite(found.psnr_db) else None}
        return said, write_files(store, made_of, {
            "picture": found.image, "reconstruction": found.reconstruction,
            "difference": found.difference})

    @one_sentence
    def inside_code(request: gr.Request, picture: str | None = None, row: Any = 0, column: Any = 0,
                    swaps: Any = None, kept: Any = "") -> tuple[dict[str, Any], list[str]]:
        image, made_of = read_picture(lab, request, picture, kept)
        if not _are_whole([row, column], 2):
            raise InvalidRequest("Row and column must be whole numbers.", field="place")
        if not isinstance(swaps, list | None) or not all(
                _are_whole(each, 3) for each in swaps or ()):
            raise InvalidRequest("Swaps must be a list of lists of three whole numbers: row, "
                                 "column and code.", field="swaps")
        question = LookAtCode(image, (row, column), {(at, to): code for at, to, code
                                                     in swaps or ()})
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"code": found.code, "read": found.read, "digits": list(found.digits),
                "times": found.times, "furthest": _near(found.furthest),
                "nearest": [_near(each) for each in found.nearest]}
        near = {f"nearest-{rank}": each.patch for rank, each in enumerate(found.nearest, start=1)}
        return said, write_files(store, made_of, {
            "picture": found.picture, "patch": found.patch, **near,
            "furthest": found.furthest.patch})

    file, kept = picture_inputs()
    pictures = gr.File(visible=False, file_count="multiple", label="Pictures, in this order")
    add_endpoint(inside_codes, [file, kept], [
        json_value({}, OBJECT, "The codes row by row, how many differ, and the PSNR in dB"),
        pictures],
        "A picture as codes of the VQGAN, drawn again, and the difference.")
    file, kept = picture_inputs()
    add_endpoint(inside_code, [
        file, json_value(0, INTEGER, "Row of the code, from 0"),
        json_value(0, INTEGER, "Column of the code, from 0"),
        json_value(None, SWAPS, "Codes put in place of others: row, column, code"),
        kept,
    ], [json_value({}, OBJECT, "The code, its digits, and the codes nearest to it"), pictures],
        "One code of a picture, what it shows, and what the nearest ones would show there.")


def _near(other: Near) -> dict[str, Any]:
    return {"code": other.code, "distance": other.distance}


def _are_whole(value: Any, count: int) -> bool:
    """Whether something of a call is a list of so many whole numbers."""
    return isinstance(value, list) and len(value) == count and all(
        isinstance(each, int) and not isinstance(each, bool) for each in value)


def _add_patches(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_patches(request: gr.Request, picture: str | None = None, kept: Any = "",
                       ) -> tuple[dict[str, Any], list[str]]:
        image, made_of = read_picture(lab, request, picture, kept)
        question = JudgePatches(image)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"patch_px": found.patch_px, "right": found.right, **{
            name: {"mean": each.mean, "real": each.real, "logits": each.logits.tolist()}
            for name, each in (("picture", found.picture),
                               ("reconstruction", found.reconstruction))}}
        over = dict(zip(("picture-map", "reconstruction-map"), found.heat_maps, strict=True))
        return said, write_files(store, made_of, {
            "picture": found.codes.image, "reconstruction": found.codes.reconstruction, **over})

    file, kept = picture_inputs()
    add_endpoint(inside_patches, [file, kept], [
        json_value({}, OBJECT, "Of the picture and of its reconstruction the mean logit, the share "
                               "of patches that look real, and the logit of each"),
        gr.File(visible=False, file_count="multiple",
                label="Both pictures, and both under their maps")],
        "Where a picture and its codes drawn look real to a patch discriminator.")
