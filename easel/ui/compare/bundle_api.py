"""Endpoints of saved comparisons: write one, open one, draw one again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from easel.compare.bundle import read_zip
from easel.compare.plan import Plan, plan_comparison
from easel.ui.compare.api import describe, files_of, stream_comparison
from easel.ui.compare.form import panes_of
from easel.ui.compare.share import open_comparison, save_comparison
from easel.ui.generate.api import OBJECT, STRING, add_endpoint, json_value
from easel.ui.generate.run import one_sentence
from easel.ui.parts.controls import read_upload
from easel.ui.parts.pictures import PictureStore
from easel.ui.playground import Playground
from pipelines.core.errors import InvalidRequest

ZIP = "A comparison that Easel saved, as a zip file"


def add_bundle_endpoints(playground: Playground, store: PictureStore) -> None:
    """Add the endpoints to the page under construction."""
    @one_sentence
    def bundle_export(request: gr.Request, comparison: Any) -> str:
        if not isinstance(comparison, str):
            raise InvalidRequest("The comparison must be the id that /compare gave.")
        found = playground.comparisons.get(comparison, request.session_hash or "")
        return save_comparison(found, store)

    @one_sentence
    def bundle_open(request: gr.Request, bundle: str | None) -> tuple[list[str], dict[str, Any]]:
        comparison = open_comparison(_read(bundle), playground, store, request.session_hash or "")
        playground.comparisons.put(comparison)
        return files_of(comparison), {
            **describe(comparison), "prompt": comparison.prompt, "vote": comparison.choice,
            "budget_s": comparison.plan.budget_s, "requests": panes_of(comparison)}

    def bundle_replay(request: gr.Request, bundle: str | None,
                      ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        def plan() -> Plan:
            facts = read_zip(_read(bundle)).facts
            return plan_comparison(playground.registry, facts.prompt, facts.requests(),
                                   budget_s=facts.budget_s)

        yield from stream_comparison(playground, store, plan, request)

    def files() -> gr.File:
        return gr.File(visible=False, file_count="multiple", label="PNG files, pane by pane")

    def upload() -> gr.File:
        return gr.File(visible=False, file_types=[".zip"], type="filepath", label=ZIP)

    add_endpoint(
        bundle_export,
        [json_value("", STRING, "Id of a finished comparison of this client")],
        [gr.File(visible=False, label="Zip with pictures, facts, and an index.html that opens "
                                      "without Easel")],
        "Save a comparison as a zip file.")
    add_endpoint(
        bundle_open, [upload()],
        [files(), json_value({}, OBJECT, "The comparison's new id, its panes, prompt and vote, and "
                                         "what it takes to draw it again")],
        "Open a saved comparison, as if it had just been drawn.")
    add_endpoint(
        bundle_replay, [upload()],
        [files(), json_value({}, OBJECT, "The new comparison's id and its panes, with what each "
                                         "took")],
        "Draw a saved comparison again with its seeds and options.")


def _read(bundle: str | None) -> bytes:
    if not bundle:
        raise InvalidRequest("There is no zip file to open.", "bundle")
    return read_upload(bundle)
