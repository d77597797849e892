"""A kept picture's own page: what is known of it, its kin, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.recall import recalled_from_facts
from easel.history.records import MAX_RATING, HistoryError, KeptPicture
from easel.history.store import History
from easel.ui.generate.recall import fill, outputs
from easel.ui.history.render import (
    PICK,
    render_facts,
    render_family,
    render_note,
    render_picture,
    render_prompt,
)
from easel.ui.parts.controls import GenerateInputs
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.words import strings

# Once what was filled in has arrived.
PRESS_GENERATE = "() => setTimeout(() => document.querySelector('#generate')?.click(), 250)"


@dataclass
class PicturePage:
    """The components of a picture's page."""

    column: gr.Column
    picture_id: gr.State
    image: gr.HTML
    prompt: gr.HTML
    facts: gr.HTML
    family: gr.HTML
    favourite: gr.Checkbox
    rating: gr.Radio
    back: gr.Button
    reuse: gr.Button
    vary: gr.Button
    init: gr.Button
    delete: gr.Button

    def shown(self) -> list[gr.components.Component]:
        """What another picture changes, in the order of ``_show``."""
        return [self.picture_id, self.image, self.prompt, self.facts, self.family, self.favourite,
                self.rating, self.delete]


def build_picture_page(playground: Playground) -> PicturePage:
    """Lay the page out, hidden until a picture is opened."""
    starts = any(pipeline.accepts_init_image for pipeline in playground.registry)
    with gr.Column(visible=False, elem_id="history-picture") as column:
        back = gr.Button(strings.HISTORY_BACK, size="sm", elem_id="history-back")
        with gr.Row(elem_id="history-desk"):
            with gr.Column(scale=3, min_width=300):
                image = gr.HTML("", **PLAIN)
            with gr.Column(scale=2, min_width=280):
                prompt = gr.HTML("", **PLAIN)
                with gr.Row(elem_id="history-actions"):
                    reuse = gr.Button(strings.REUSE, size="sm", elem_id="reuse", min_width=80)
                    vary = gr.Button(strings.VARY, size="sm", elem_id="vary", min_width=80)
                    init = gr.Button(strings.USE_AS_INIT, size="sm", elem_id="use-as-init",
                                     min_width=80, visible=starts)
                    delete = gr.Button(strings.DELETE, size="sm", elem_id="delete-kept",
                                       min_width=80)
                favourite = gr.Checkbox(label=strings.FAVOURITE, container=False,
                                        elem_id="favourite")
                rating = gr.Radio([(strings.NO_RATING, 0),
                                   *((str(n), n) for n in range(1, MAX_RATING + 1))],
                                  value=0, label=strings.RATING, elem_id="rating")
                facts = gr.HTML("", **PLAIN)
        family = gr.HTML("", elem_id="kin", js_on_load=PICK, apply_default_css=False)
    return PicturePage(column, gr.State(""), image, prompt, facts, family, favourite, rating, back,
                       reuse, vary, init, delete)


def _show(playground: Playground, history: History, picture: KeptPicture) -> list[Any]:
    family = history.family(picture.owner, picture.id)
    return [picture.id, render_picture(picture), render_prompt(picture),
            render_facts(picture, playground.registry),
            render_family(family, playground.registry), picture.favourite, picture.rating or 0,
            gr.update(value=strings.RESTORE if picture.deleted else strings.DELETE)]


def connect_picture_page(
        playground: Playground, history: History, inputs: GenerateInputs, tab: gr.Tab,
        page: PicturePage, gallery: gr.Column, note: gr.HTML, reload: Callable[..., Any],
        reload_inputs: list[Any], reload_outputs: list[Any]) -> None:
    """Connect the page.

    Args:
        playground: what there is.
        history: whose pictures are shown.
        inputs: the Generate tab's.
        tab: the history's tab.
        page: the components.
        gallery: what is shown in place of the page when no picture is open.
        note: where the gallery says what was done.
        reload: shows the gallery again.
        reload_inputs: its inputs.
        reload_outputs: its outputs.
    """
    columns = [gallery, page.column]

    def own(request: gr.Request, picture_id: str) -> KeptPicture:
        return history.get(history.owner_of(visitor_of(request)), str(picture_id))

    @one_sentence
    def open_picture(request: gr.Request, event: gr.EventData) -> Any:
        data = event._data if isinstance(event._data, dict) else {}  # a program may send anything
        picture = own(request, data.get("id", ""))
        return [gr.update(visible=False), gr.update(visible=True),
                *_show(playground, history, picture)]

    @one_sentence
    def rate(request: gr.Request, picture_id: str, rating: int) -> None:
        history.rate(own(request, picture_id).owner, picture_id, rating or None)

    @one_sentence
    def mark(request: gr.Request, picture_id: str, favourite: bool) -> None:
        history.set_favourite(own(request, picture_id).owner, picture_id, favourite)

    @one_sentence
    def delete(request: gr.Request, picture_id: str) -> Any:
        picture = own(request, picture_id)
        move = history.restore if picture.deleted else history.delete
        move(picture.owner, [picture.id])
        return _show(playground, history, history.get(picture.owner, picture.id))

    def back() -> Any:
        return gr.update(visible=True), gr.update(visible=False), ""

    thumbnails = reload_outputs[0]
    gr.on([thumbnails.click, page.family.click], open_picture, None, [*columns, *page.shown()],
          **LIVE)
    page.rating.input(rate, [page.picture_id, page.rating], None, **LIVE)
    page.favourite.input(mark, [page.picture_id, page.favourite], None, **LIVE)
    page.delete.click(delete, page.picture_id, page.shown(), **LIVE)
    page.back.click(back, None, [*columns, note], **LIVE).then(
        reload, reload_inputs, reload_outputs, **LIVE)
    _connect_hand_off(playground, history, inputs, tab, page, own)


def _connect_hand_off(playground: Playground, history: History, inputs: GenerateInputs,
                      tab: gr.Tab, page: PicturePage,
                      own: Callable[[gr.Request, str], KeptPicture]) -> None:
    """What fills in the Generate tab and goes there."""
    filled = [tab.parent, inputs.note, *inputs.components()]
    there = gr.update(selected="generate")

    def settings(picture: KeptPicture, seed: int | None, num_images: int | None,
                 varied: bool = False) -> list[Any]:
        result = fill(inputs, recalled_from_facts(picture.facts), seed, num_images)
        updates, note = dict(result.updates), result.note
        if digest := picture.facts.get("init_image_sha256"):
            start = _init_image(history, picture, str(digest))
            files = [file for group in inputs.controls if group.pipeline.name == picture.pipeline
                     and (file := group.pictures.init_image) is not None]
            if start is None:
                note += f" {strings.INIT_GONE}"
            else:
                updates |= {file: in_cache(history, file, start) for file in files}
        if picture.facts.get("image_prompts_sha256") or picture.facts.get("mask_sha256"):
            note += f" {strings.PICTURES_GONE}"
        # With the seed, so that what is drawn with it knows its parent.
        parent = f"{picture.id} {updates[inputs.seed]}" if varied else ""
        updates |= {group.varied: parent if group.pipeline.name == picture.pipeline else ""
                    for group in inputs.controls}
        return [there, render_note(note), *outputs(inputs, updates)]

    @one_sentence
    def reuse(request: gr.Request, picture_id: str) -> Any:
        # A candidate's own seed draws it alone.
        return settings(own(request, picture_id), None, 1)

    @one_sentence
    def vary(request: gr.Request, picture_id: str) -> Any:
        picture = own(request, picture_id)
        count = picture.facts.get("num_images", 1)
        first = picture.facts.get("run_seed", picture.seed)
        return settings(picture, int(first) + int(count), int(count), varied=True)

    @one_sentence
    def start_from(request: gr.Request, picture_id: str) -> Any:
        return hand_off(history, inputs, own(request, picture_id), there)

    @one_sentence
    def start_from_candidate(request: gr.Request, candidate: str | None) -> Any:
        picture_id, _, _ = (candidate or "").partition(" ")  # the rest makes a second click differ
        return hand_off(history, inputs, own(request, picture_id), there)

    page.reuse.click(reuse, page.picture_id, filled, **LIVE)
    page.vary.click(vary, page.picture_id, filled, **LIVE).success(
        None, None, None, js=PRESS_GENERATE, api_visibility="private")
    page.init.click(start_from, page.picture_id, filled, **LIVE)
    inputs.hand_off.change(start_from_candidate, inputs.hand_off, filled, **LIVE)


def hand_off(history: History, inputs: GenerateInputs, picture: KeptPicture,
             there: Any) -> list[Any]:
    """A picture as the init image of the generator that takes one.

    The file goes there unchanged: by its hash the history knows the parent of what is drawn.

    Raises:
        HistoryError: the file is gone, or no generator takes an init image.
    """
    group = inputs.init_target()
    if group is None or (file := group.pictures.init_image) is None:
        raise HistoryError("No generator here starts from a picture.")
    updates: dict[Any, Any] = {other.chosen: other is group for other in inputs.controls}
    updates |= {other.varied: "" for other in inputs.controls}
    updates |= {inputs.prompt: picture.prompt, inputs.handed: picture.prompt,
                file: in_cache(history, file, picture)}
    note = strings.INIT_TAKEN.format(group.pipeline.title)
    return [there, render_note(note), *outputs(inputs, updates)]


def in_cache(history: History, component: gr.File, picture: KeptPicture) -> str:
    """The picture's file where a component may hand it out, unchanged.

    Raises:
        HistoryError: the file is gone.
    """
    cached = component.move_resource_to_block_cache(history.files.local(picture.sha256))
    assert cached is not None
    return cached


def _init_image(history: History, picture: KeptPicture, sha256: str) -> KeptPicture | None:
    """The kept picture that another one started from; None where it was uploaded or is gone."""
    for picture_id in history.with_hash(picture.owner, sha256)[:1]:
        return history.get(picture.owner, picture_id)
    return None
