"""Presets, a fold among the settings of the Generate tab: named options that fill the forms in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from easel.guard.visitors import visitor_of
from easel.presets import FILE, Presets, PresetStore, store_for, write_presets
from easel.ui.generate.recall import valid_options
from easel.ui.parts.choice import on_choice
from easel.ui.parts.controls import PipelineControls
from easel.ui.parts.errors import json_errors, shows_errors_by
from easel.ui.parts.lines import Updates
from easel.ui.parts.option_form import OptionForms
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import read_upload
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.pipeline import Preset
from pipelines.registry import Registry

ADDRESS = "presets/export"


@dataclass
class PresetParts:
    """The components.

    Attributes:
        chosen: generator and name of a preset, as ``dalle/best``; its choices come when the
            settings are unfolded, since one's own are among them.
        name: under which the ticked generators' options are saved.
        said: what became of it.
    """

    chosen: gr.Dropdown
    name: gr.Textbox
    save: gr.Button
    delete: gr.Button
    take: gr.UploadButton
    said: gr.HTML


def build_presets() -> PresetParts:
    """Lay the parts out."""
    chosen = gr.Dropdown([], label=strings.PRESET, info=strings.PRESET_INFO, filterable=False,
                         elem_id="preset")
    with gr.Accordion(strings.PRESETS_OWN, open=False, elem_id="presets-own"):
        name = gr.Textbox(label=strings.PRESET_NAME, info=strings.PRESET_NAME_INFO, max_lines=1,
                          max_length=40, elem_id="preset-name")
        with gr.Row(elem_id="preset-buttons"):
            save = gr.Button(strings.PRESET_SAVE, size="sm", elem_id="preset-save")
            delete = gr.Button(strings.PRESET_DELETE, size="sm", elem_id="preset-delete")
            take = gr.UploadButton(strings.PRESETS_IMPORT, size="sm", file_types=[".toml"],
                                   type="filepath", elem_id="presets-import")
            worded_html(lambda: f'<a class="chip" href="{ADDRESS}" download="{FILE}">'
                                f"{escape(strings.PRESETS_EXPORT)}</a>", elem_id="presets-export")
    said = gr.HTML("", elem_id="preset-said", **PLAIN)
    return PresetParts(chosen, name, save, delete, take, said)


def connect_presets(playground: Playground, parts: PresetParts, fold: gr.Accordion,
                    controls: Sequence[PipelineControls], options: OptionForms,
                    best_of: gr.Number) -> None:
    """Connect the parts.

    Args:
        playground: what there is.
        parts: the components.
        fold: of the settings.
        controls: of every generator, whose boxes say which options are saved.
        options: the forms that a preset fills in.
        best_of: how many pictures are drawn for the best.
    """
    boxes = [group.chosen for group in controls]
    filled = [parts.said, options.html, options.text, best_of, *boxes]
    changed = [parts.said, parts.chosen, parts.name]

    def refused(sentence: str) -> Updates:
        return {parts.said: alert(sentence)}

    def store(request: gr.Request) -> PresetStore:
        return store_for(playground.settings.data_dir, visitor_of(request), playground.registry)

    def listed(request: gr.Request, chosen: str | None) -> Any:
        own = store(request).own()
        choices = [(_label(pipeline.title, name, name in own.get(pipeline.name, {})),
                    f"{pipeline.name}/{name}") for pipeline in playground.registry
                   for name in {**pipeline.presets, **own.get(pipeline.name, {})}]
        there = chosen in [value for _, value in choices]
        return gr.update(choices=choices, value=chosen if there else None)

    @shows_errors_by(refused)
    def unfold(request: gr.Request, chosen: str | None) -> Updates:
        return {parts.said: "", parts.chosen: listed(request, chosen)}

    @shows_errors_by(refused)
    def fill(request: gr.Request, chosen: str | None, text: str) -> Updates:
        pipeline, name = _named(chosen)
        preset, now = store(request).find(pipeline, name), options.read(text)
        values = {group.pipeline.name: valid_options(
            group.pipeline, now.get(group.pipeline.name, {})) for group in controls}
        title = playground.registry.get(pipeline).title
        return {parts.said: _note(strings.PRESET_FILLED, title, say(name)),
                **options.updates({**values, pipeline: preset.options}), best_of: preset.best_of,
                **{group.chosen: True for group in controls if group.pipeline.name == pipeline}}

    @shows_errors_by(refused)
    def save(request: gr.Request, typed: str | None, text: str, drawn: Any,
             *ticked: bool) -> Updates:
        name, values = "-".join((typed or "").lower().split()), options.read(text)
        pipelines = [group.pipeline for group, is_ticked in zip(controls, ticked, strict=True)
                     if is_ticked]
        if not pipelines:
            raise InvalidRequest(strings.NOTHING_TICKED, field="pipeline")
        kept = store(request)
        kept.save(name, {pipeline.name: Preset(values.get(pipeline.name, {}), drawn or 0)
                         for pipeline in pipelines})
        titles = ", ".join(each.title for each in pipelines)
        return {parts.said: _note(strings.PRESET_SAVED, name, titles),
                parts.chosen: listed(request, f"{pipelines[0].name}/{name}"), parts.name: ""}

    @shows_errors_by(refused)
    def delete(request: gr.Request, chosen: str | None) -> Updates:
        pipeline, name = _named(chosen)
        store(request).delete(pipeline, name)
        return {parts.said: _note(strings.PRESET_DELETED, name),
                parts.chosen: listed(request, chosen)}

    @shows_errors_by(refused)
    def take(request: gr.Request, path: str | None, chosen: str | None) -> Updates:
        new: Presets = store(request).add(read_upload(path))
        return {parts.said: _note(strings.PRESETS_IMPORTED, sum(map(len, new.values()))),
                parts.chosen: listed(request, chosen)}

    fold.expand(unfold, parts.chosen, [parts.said, parts.chosen], **LIVE)
    on_choice(parts.chosen, fill, [options.text], filled)
    gr.on([parts.save.click, parts.name.submit], save, [parts.name, options.text, best_of, *boxes],
          changed, **LIVE)
    parts.delete.click(delete, parts.chosen, changed, **LIVE)
    parts.take.upload(take, [parts.take, parts.chosen], changed, **LIVE)


def preset_routes(data_dir: Path, registry: Registry) -> list[Route]:
    """The address at which visitors find their own presets as a file, to go before Gradio's own.

    Args:
        data_dir: the data folder.
        registry: the generators.
    """
    def export(request: Request) -> Response:
        own = store_for(data_dir, visitor_of(request), registry).own()
        return Response(write_presets(own), media_type="application/toml", headers={
            "Content-Disposition": f'attachment; filename="{FILE}"', "Cache-Control": "no-store"})

    return [Route(f"/{ADDRESS}", json_errors(export))]


def _named(chosen: str | None) -> tuple[str, str]:
    if not chosen:
        raise InvalidRequest("Choose a preset first.", field="preset")
    pipeline, _, name = chosen.partition("/")
    return pipeline, name


def _label(title: str, name: str, is_own: bool) -> str:
    return f"{title}: {name}" if is_own else f"{title}: {say(name)}"


def _note(template: str, *values: Any) -> str:
    return f'<p class="hint" role="status">{escape(template.format(*values))}</p>'
