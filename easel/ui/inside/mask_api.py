"""The endpoints of the views with a mask."""

from __future__ import annotations

from math import isfinite
from typing import Any

import gradio as gr

from easel.ui.inside.calls import picture_inputs, read_picture, write_files
from easel.ui.inside.mask import mask_asked
from easel.ui.inside.stream import dalle_options, written_in
from easel.ui.lab.api import stoppable
from easel.ui.lab.lab import Lab
from easel.ui.parts.endpoints import INTEGER, OBJECT, PROMPT, STRING, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import IMAGE_SUFFIXES
from pipelines.core.images import load_small
from pipelines.inside.complete import BOLD, MAX_COMPLETIONS, CompletePicture
from pipelines.inside.layers import facts_in, stages_in
from pipelines.inside.mix import MixCodes

MASK = {"anyOf": [STRING, {"type": "array", "items": {"type": "array", "items": INTEGER}}]}
USUAL = {"temperature": BOLD.temperature}
MASK_LABEL = "Which codes stay: upper, left, checker, or rows of 0 and 1 (1 stays)"
PARTS_LABEL = "What of the picture stays: upper, left, checker, or rows of 0 and 1 (1 stays)"


def add_mask_endpoints(lab: Lab, store: PictureStore) -> None:
    """Add them to the page under construction; see ``add_inside_endpoints``."""
    _add_mix(lab, store)
    _add_complete(lab, store)


def _mask_file() -> gr.File:
    return gr.File(visible=False, file_types=IMAGE_SUFFIXES, type="filepath",
                   label="A mask in its place: black stays, white or transparent does not; or null")


def _add_mix(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_mix(request: gr.Request, picture: str | None = None, other: str | None = None,
                   mask: Any = "left", kept: Any = "", other_kept: Any = "",
                   mask_file: str | None = None) -> tuple[dict[str, Any], list[str]]:
        asked = mask_asked(mask, mask_file)
        image, made_of = read_picture(lab, request, picture, kept)
        second, of_second = read_picture(lab, request, other, other_kept)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(MixCodes(image, second, asked), run.next_job())
        said = {"kept": found.kept.astype(int).tolist(), "codes": found.grid.tolist(),
                "one": found.one.grid.tolist(), "other": found.other.grid.tolist(),
                # JSON has no infinity: null where both draw the same.
                "psnr_db": found.psnr_db if isfinite(found.psnr_db) else None}
        return said, write_files(store, [*made_of, *of_second], {
            "together": found.picture, "pasted": found.pasted, "difference": found.difference,
            "one": found.one.reconstruction, "other": found.other.reconstruction})

    file, kept = picture_inputs()
    other, other_kept = picture_inputs()
    other.label = f"Second picture: {other.label}"
    add_endpoint(inside_mix, [file, other, json_value("left", MASK, MASK_LABEL), kept, other_kept,
                              _mask_file()],
                 [json_value({}, OBJECT, "The codes of both and together, which of them stay, and "
                                         "the PSNR between drawn together and pasted, in dB"),
                  gr.File(visible=False, file_count="multiple",
                          label="Drawn together, pasted, their difference, and both alone")],
                 "The codes of two pictures mixed by a mask and drawn together.")


def _add_complete(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_complete(request: gr.Request, picture: str | None = None, prompt: Any = "",
                        mask: Any = "upper", seed: Any = CompletePicture.seed,
                        count: Any = CompletePicture.count, options: Any = None, kept: Any = "",
                        mask_file: str | None = None) -> tuple[dict[str, Any], list[str]]:
        chosen, asked = dalle_options(options, USUAL), mask_asked(mask, mask_file)
        (image, written), made_of = read_picture(lab, request, picture, kept, lambda data: (
            load_small(data), written_in(data)))
        question = CompletePicture(image, prompt, asked, chosen, seed, count, written)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"plan": facts_in(found.plan),
                "layers": [stage._asdict() for stage in stages_in(found.plan)],
                "cells": found.cells.astype(int).tolist(),
                "kept": found.kept.astype(int).tolist(), "reread": found.reread,
                "seeds": list(found.seeds), "codes": found.codes.tolist()}
        return said, write_files(store, made_of, {"picture": found.picture} | {
            f"completion-{rank}": pixels for rank, pixels in enumerate(found.pictures, start=1)})

    file, kept = picture_inputs()
    add_endpoint(inside_complete, [
        file, json_value("a red apple", PROMPT, "What the picture should show"),
        json_value("upper", MASK, PARTS_LABEL),
        json_value(CompletePicture.seed, INTEGER, "Seed of the first completion"),
        json_value(CompletePicture.count, INTEGER, f"Completions, 1 to {MAX_COMPLETIONS}"),
        json_value(None, OBJECT, "Options of dalle by name: guidance_scale, temperature (1 if left "
                                 "out), top_k, top_p, negative_prompt"),
        kept, _mask_file(),
    ], [json_value({}, OBJECT, "The plan, which stays; what each layer shows, thing 0 being the "
                               "ground; which cells of the picture and so which "
                               "codes of each layer stay; of each completion its seed and codes"),
        gr.File(visible=False, file_count="multiple",
                label="The picture of its codes, and the completions")],
        "A part of a picture's codes stays, and DALL\u00b7E's transformer writes the rest.")
