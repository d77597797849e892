"""The tab's endpoints: the same findings as plain values and pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from easel.ui.inside.calls import picture_inputs, read_picture, write_files
from easel.ui.inside.codes_api import add_code_endpoints
from easel.ui.inside.mask_api import add_mask_endpoints
from easel.ui.inside.stream import dalle_options, written_in
from easel.ui.lab.api import stoppable, texts_of
from easel.ui.lab.lab import Lab
from easel.ui.parts.endpoints import (
    INTEGER,
    OBJECT,
    PROMPT,
    STRING,
    STRINGS,
    add_endpoint,
    json_value,
)
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_many
from pipelines.core.images import load_small
from pipelines.inside.contrast import Contrast, ContrastPairs, check_pairs
from pipelines.inside.loop import WatchLoop
from pipelines.inside.prior import WatchPrior
from pipelines.inside.replay import replayed, replayed_pairs
from pipelines.inside.score import WhyScore, heat_map
from pipelines.inside.stream import ReadStream
from pipelines.models.checkpoints.ids import RANKER


def add_inside_endpoints(lab: Lab, store: PictureStore) -> None:
    """Add the endpoints to the page under construction. None of them shows on it.

    Args:
        lab: whose backend answers.
        store: where pictures are written.
    """
    _add_score(lab, store)
    add_code_endpoints(lab, store)
    _add_stream(lab, store)
    _add_contrast(lab)
    _add_loop(lab, store)
    _add_prior(lab, store)
    add_mask_endpoints(lab, store)


def _add_score(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_score(request: gr.Request, picture: str | None = None, prompt: Any = "",
                     kept: Any = "", model: Any = RANKER) -> tuple[dict[str, Any], list[str]]:
        image, made_of = read_picture(lab, request, picture, kept)
        question = WhyScore(image, prompt, lab.check_clip(model))
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"model": found.model_id, "score": found.score,
                "words": [asdict(word) for word in found.words],
                "cells": found.cells.tolist(), "tie": found.tie,
                "pieces": [asdict(piece) for piece in found.pieces]}
        return said, write_files(store, made_of, {"heat-map": heat_map(image, found.cells)})

    file, kept = picture_inputs()
    add_endpoint(inside_score, [
        file, json_value("a red apple", PROMPT, "What the picture should show"), kept,
        json_value(RANKER, STRING, "Id of a CLIP; /clips lists them"),
    ], [json_value({}, OBJECT, "The score; how far it falls without each word, and without each of "
                               "8 × 8 cells; tokens"),
        gr.File(visible=False, file_count="multiple", label="The cells over the picture")],
        "Why a picture has its CLIP score: what each word and each part of the picture is worth.")


def _add_stream(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_stream(request: gr.Request, picture: str | None = None, prompt: Any = "",
                      kept: Any = "", options: Any = None) -> tuple[dict[str, Any], list[str]]:
        chosen = dalle_options(options)
        (image, written), made_of = read_picture(lab, request, picture, kept, lambda data: (
            load_small(data), written_in(data)))
        question = ReadStream(image, prompt, chosen, written)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        looked = found.looked
        said = {"side": found.side, "reread": found.reread,
                "plan": [asdict(token) for token in found.plan],
                "layers": [stage._asdict() for stage in found.stages],
                "words": list(looked.words), "looked": looked.shares.tolist(),
                "looked_at_marks": looked.marks.tolist(), "looked_at_plan": looked.plan.tolist(),
                "looked_at_picture": looked.picture.tolist(),
                **{name: getattr(found, name).tolist() for name in (
                    "codes", "surprise", "without", "blocks", "likely", "likely_without",
                    "drawn")}}
        patches = np.concatenate([np.concatenate(list(row), 1) for row in found.patches])
        return said, write_files(store, made_of, {
            "picture": found.picture, "patches": patches,
            **{f"layer-{number}": pixels for number, pixels in enumerate(found.layers)}})

    file, kept = picture_inputs()
    add_endpoint(inside_stream, [
        file, json_value("a red apple", PROMPT, "The caption to expect it by"), kept,
        json_value(None, OBJECT, "Options of dalle by name: guidance_scale, temperature, top_k, "
                                 "top_p"),
    ], [json_value({}, OBJECT, "Of each token of the plan its probability; what each layer shows, "
                               "thing 0 being the ground; of each of their blocks its surprise in "
                               "nats, with the caption and without; its likeliest blocks in "
                               "tokens, the picture's own first, with their probabilities; how "
                               "much of its attention each word had"),
        gr.File(visible=False, file_count="multiple",
                label="The picture, the blocks as patches, a row a block, and the layers")],
        "What DALL\u00b7E's transformer expected of each block of a picture.")


def _add_contrast(lab: Lab) -> None:
    @one_sentence
    def inside_contrast(request: gr.Request, images: list[str] | None = None, texts: Any = None,
                        temperature: Any = None, model: Any = RANKER) -> dict[str, Any]:
        said = texts_of(texts or [], "texts")
        files = [Path(path) for path in images or []]
        check_pairs(len(files), len(said))  # before any picture is decoded
        question = ContrastPairs(read_many(files), said, temperature,
                                 lab.check_clip(model))
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        return {"model": found.model_id, **_told(found)}

    @one_sentence
    def inside_replay(moment: Any = 1, temperature: Any = None) -> dict[str, Any]:
        found, pairs = replayed(moment, temperature), replayed_pairs()
        return {"texts": list(pairs.texts), "step": found.step,
                "pictures_seen": found.pictures_seen, "training_loss": found.training_loss,
                "batch_size": pairs.batch_size, **_told(found.contrast)}

    add_endpoint(inside_replay, [
        json_value(1, INTEGER, "Moment of the training, from 1, before it, to 8, after it"),
        json_value(None, {"type": "number"}, "Temperature, or null for the one learned by then"),
    ], [json_value({}, OBJECT, "Steps, pictures seen, loss in nats, softmaxes and similarities")],
        "Twelve pairs as a CLIP saw them at one of eight moments of its training.", queue=False)
    add_endpoint(inside_contrast, [
        gr.File(visible=False, file_count="multiple", file_types=IMAGE_SUFFIXES, type="filepath",
                label="Pictures, 2 to 12 (PNG, JPEG or WebP)"),
        json_value(["a cat", "a dog"], STRINGS, "The text of each picture, in their order"),
        json_value(None, {"type": "number"}, "Temperature, or null for the CLIP's own"),
        json_value(RANKER, STRING, "Id of a CLIP; /clips lists them"),
    ], [json_value({}, OBJECT, "The loss in nats, both softmaxes, and the similarities")],
        "The contrastive loss of pairs of pictures and texts, as CLIP was trained.")


def _told(found: Contrast) -> dict[str, Any]:
    """A matrix of pairs, its softmaxes and its loss as plain values."""
    return {"temperature": found.temperature, "trained_temperature": found.trained,
            "loss": found.loss, "loss_of_texts": found.loss_of_texts,
            "loss_of_pictures": found.loss_of_pictures, "right": list(found.right),
            "similarities": found.similarities.tolist(),
            "softmax_over_pictures": found.over_pictures.tolist(),
            "softmax_over_texts": found.over_texts.tolist()}


def _add_loop(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_loop(request: gr.Request, prompt: Any = "", seed: Any = 0, steps: Any = 32,
                    cutouts: Any = 1) -> tuple[dict[str, Any], list[str]]:
        question = WatchLoop(prompt, seed, steps, cutouts)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        said = {"texts": [list(each) for each in found.texts], "losses": list(found.losses),
                "steps": [{"step": step.step, "distances": list(step.distances),
                           "ranker_cosine": cosine, "changed": step.changed.tolist()}
                          for step, cosine in zip(found.steps, found.cosines, strict=True)]}
        files = {f"step-{step.step:03d}-{name}": pixels for step in found.steps
                 for name, pixels in (("picture", step.picture), ("wanted", step.wanted))}
        return said, write_files(store, (), files)

    add_endpoint(inside_loop, [
        json_value("a red apple", PROMPT, "What to draw, by the embedded VQGAN and guide"),
        json_value(0, INTEGER, "Seed"),
        json_value(32, INTEGER, "Steps of the optimisation, 8 to 60"),
        json_value(1, INTEGER, "Cutouts that CLIP looks at in each step, 1 to 16"),
    ], [json_value({}, OBJECT, "Of every step the loss, of some the distances, the cosine by the "
                               "ranker, and the codes that changed"),
        gr.File(visible=False, file_count="multiple",
                label="Of those the picture, and the change that the loss asks for")],
        "VQGAN+CLIP watched at up to eight steps.")


def _add_prior(lab: Lab, store: PictureStore) -> None:
    @one_sentence
    def inside_prior(request: gr.Request, prompt: Any = "", seed: Any = 0,
                     guidance_scale: Any = 3.0) -> tuple[dict[str, Any], list[str]]:
        question = WatchPrior(prompt, seed, guidance_scale)
        with stoppable(lab, request) as run:
            found = lab.backend.inside(question, run.next_job())
        ways = {"with_prior": found.with_prior, "without_prior": found.without_prior}
        said = {"caption": asdict(found.caption), "others": [asdict(each) for each in found.others],
                "rendered": [asdict(each) for each in found.rendered],
                "drawn": [asdict(each) for each in found.drawn],
                "own_cosines": list(found.own_cosines),
                "steps": [asdict(each) for each in found.steps], "explained": found.explained,
                **{name: {"embedding": asdict(way.embedding), "seen": asdict(way.seen),
                          "ranker_cosine": way.ranker_cosine}
                   for name, way in ways.items()}}
        files = {name.replace("_", "-"): way.picture for name, way in ways.items()}
        for each in found.predictions:
            files |= {f"step-{each.step:02d}-told": each.told,
                      f"step-{each.step:02d}-untold": each.untold,
                      f"step-{each.step:02d}-guided": each.guided}
        return said, write_files(store, (), files)

    add_endpoint(inside_prior, [
        json_value("a red apple", PROMPT, "What to draw, by the embedded unCLIP"),
        json_value(0, INTEGER, "Seed"),
        json_value(3.0, {"type": "number"}, "Guidance of the decoder, above 1"),
    ], [json_value({}, OBJECT, "Embeddings in a plane, each with its cosine with the caption's"),
        gr.File(visible=False, file_count="multiple",
                label="Both pictures, and the decoder's predictions")],
        "unCLIP's prior on and off, and both predictions of guidance.")
