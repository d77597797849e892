"""A kept picture's own page: what is known of it, its kin, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.recall import recalled_from_facts
from easel.history.records import MAX_RATING, Family, HistoryError, KeptPicture
from easel.history.store import History
from easel.ui.generate.recall import fill, in_cache, kept_picture, set_to
from easel.ui.history.gallery import GalleryParts
from easel.ui.history.render import (
    PICK,
    render_facts,
    render_family,
    render_picture,
    render_prompt,
)
from easel.ui.parts.controls import GenerateInputs
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.lines import Updates
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import kept_note
from easel.words import strings
from pipelines.registry import Registry

# Once what was filled in has arrived.
PRESS_GENERATE = "() => setTimeout(() => document.querySelector('#generate')?.click(), 250)"


@dataclass
class PicturePage:
    """The components of a picture's page.

    Attributes:
        beside: ids of the next newer and the next older picture of the gallery, "" at its ends.
    """

    column: gr.Column
    picture_id: gr.State
    beside: gr.State
    image: gr.HTML
    prompt: gr.HTML
    facts: gr.HTML
    family: gr.HTML
    favourite: gr.Checkbox
    rating: gr.Radio
    back: gr.Button
    newer: gr.Button
    older: gr.Button
    reuse: gr.Button
    vary: gr.Button
    init: gr.Button
    delete: gr.Button

    def shown(self) -> list[gr.components.Component]:
        """What another picture changes."""
        return [self.picture_id, self.beside, self.newer, self.older, self.image, self.prompt,
                self.facts, self.family, self.favourite, self.rating, self.delete]

    def show(self, picture: KeptPicture, family: Family, beside: tuple[str | None, str | None],
             registry: Registry) -> Updates:
        """A picture, with its kin and between its neighbours."""
        newer, older = (name or "" for name in beside)
        return {self.picture_id: picture.id, self.beside: (newer, older),
                self.newer: gr.update(interactive=bool(newer)),
                self.older: gr.update(interactive=bool(older)), self.image: render_picture(picture),
                self.prompt: render_prompt(picture), self.facts: render_facts(picture, registry),
                self.family: render_family(family, registry), self.favourite: picture.favourite,
                self.rating: picture.rating or 0,
                self.delete: gr.update(
                    value=strings.RESTORE if picture.deleted else strings.DELETE)}


def build_picture_page(registry: Registry) -> PicturePage:
    """Lay the page out, hidden until a picture is opened."""
    starts = any(pipeline.accepts_init_image for pipeline in registry)
    with gr.Column(visible=False, elem_id="history-picture") as column:
        with gr.Row(elem_id="history-turn"):
            back = gr.Button(strings.HISTORY_BACK, size="sm", elem_id="history-back")
            newer = gr.Button(strings.HISTORY_NEWER_ONE, size="sm", elem_id="history-newer",
                              min_width=80)
            older = gr.Button(strings.HISTORY_OLDER_ONE, size="sm", elem_id="history-older",
                              min_width=80)
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
    return PicturePage(column, gr.State(""), gr.State(("", "")), image, prompt, facts, family,
                       favourite, rating, back, newer, older, reuse, vary, init, delete)


def connect_picture_page(
        registry: Registry, history: History, inputs: GenerateInputs, tab: gr.Tab,
        page: PicturePage, gallery: GalleryParts, reload: Callable[..., Updates]) -> None:
    """Connect the page.

    Args:
        registry: for the generators' titles.
        history: whose pictures are shown.
        inputs: the Generate tab's.
        tab: the history's tab.
        page: the components.
        gallery: what is shown in place of the page when no picture is open.
        reload: shows the gallery again, given the request and the values of ``gallery.asked()``.
    """
    columns = [gallery.column, page.column]

    def own(request: gr.Request, picture_id: str) -> KeptPicture:
        return history.get(history.owner_of(visitor_of(request)), str(picture_id))

    def show(picture: KeptPicture, values: tuple[Any, ...]) -> Updates:
        return page.show(picture, history.family(picture.owner, picture.id),
                         history.beside(picture, gallery.read(values)), registry)

    @one_sentence
    def open_picture(request: gr.Request, event: gr.EventData, *values: Any) -> Updates:
        data = event._data if isinstance(event._data, dict) else {}  # a program may send anything
        return {gallery.column: gr.update(visible=False), page.column: gr.update(visible=True),
                **show(own(request, data.get("id", "")), values)}

    def turn(to: int) -> Callable[..., Updates]:
        @one_sentence
        def turned(request: gr.Request, beside: tuple[str, str], *values: Any) -> Updates:
            return show(own(request, beside[to]), values)
        return turned

    @one_sentence
    def rate(request: gr.Request, picture_id: str, rating: int) -> None:
        history.rate(own(request, picture_id).owner, picture_id, rating or None)

    @one_sentence
    def mark(request: gr.Request, picture_id: str, favourite: bool) -> None:
        history.set_favourite(own(request, picture_id).owner, picture_id, favourite)

    @one_sentence
    def marks(request: gr.Request, picture_id: str) -> Updates:
        picture = own(request, picture_id)
        return {page.rating: picture.rating or 0, page.favourite: picture.favourite}

    @one_sentence
    def delete(request: gr.Request, picture_id: str, *values: Any) -> Updates:
        picture = own(request, picture_id)
        move = history.restore if picture.deleted else history.delete
        move(picture.owner, [picture.id])
        return show(history.get(picture.owner, picture.id), values)

    def back() -> Updates:
        return {gallery.column: gr.update(visible=True), page.column: gr.update(visible=False),
                gallery.note: ""}

    filters = list(gallery.filters.values())
    gr.on([gallery.thumbnails.click, page.family.click], open_picture, filters,
          [*columns, *page.shown()], **LIVE)
    for to, button in enumerate((page.newer, page.older)):
        button.click(turn(to), [page.beside, *filters], page.shown(), **LIVE)
    for control, keep in ((page.rating, rate), (page.favourite, mark)):
        control.input(keep, [page.picture_id, control], None, **LIVE).failure(
            marks, page.picture_id, [page.rating, page.favourite], **LIVE)
    page.delete.click(delete, [page.picture_id, *filters], page.shown(), **LIVE)
    page.back.click(back, None, [*columns, gallery.note], **LIVE).then(
        reload, gallery.asked(), gallery.shown(), **LIVE)
    _connect_hand_off(history, inputs, tab, page, own)


def _connect_hand_off(history: History, inputs: GenerateInputs, tab: gr.Tab, page: PicturePage,
                      own: Callable[[gr.Request, str], KeptPicture]) -> None:
    """What fills in the Generate tab and goes there."""
    filled = [tab.parent, inputs.note, *inputs.components()]
    there = {tab.parent: gr.update(selected="generate")}

    def settings(picture: KeptPicture, seed: int | None, num_images: int | None,
                 varied: bool = False) -> Updates:
        result = fill(inputs, recalled_from_facts(picture.facts), seed, num_images,
                      kept_picture(history, picture.owner))
        updates = dict(result.updates)
        # With the seed, so that what is drawn with it knows its parent.
        parent = f"{picture.id} {updates[inputs.seed]}" if varied else ""
        updates |= {group.varied: parent if group.pipeline.name == picture.pipeline else ""
                    for group in inputs.controls}
        return {**there, inputs.note: kept_note(result.note), **set_to(updates)}

    @one_sentence
    def reuse(request: gr.Request, picture_id: str) -> Updates:
        # A candidate's own seed draws it alone.
        return settings(own(request, picture_id), None, 1)

    @one_sentence
    def vary(request: gr.Request, picture_id: str) -> Updates:
        picture = own(request, picture_id)
        count = picture.facts.get("num_images", 1)
        first = picture.facts.get("run_seed", picture.seed)
        return settings(picture, int(first) + int(count), int(count), varied=True)

    @one_sentence
    def start_from(request: gr.Request, picture_id: str) -> Updates:
        return {**there, **hand_off(history, inputs, own(request, picture_id))}

    @one_sentence
    def start_from_candidate(request: gr.Request, candidate: str | None) -> Updates:
        picture_id, _, _ = (candidate or "").partition(" ")  # the rest makes a second click differ
        return {**there, **hand_off(history, inputs, own(request, picture_id))}

    page.reuse.click(reuse, page.picture_id, filled, **LIVE)
    page.vary.click(vary, page.picture_id, filled, **LIVE).success(
        None, None, None, js=PRESS_GENERATE, api_visibility="private")
    page.init.click(start_from, page.picture_id, filled, **LIVE)
    inputs.hand_off.change(start_from_candidate, inputs.hand_off, filled, **LIVE)


def hand_off(history: History, inputs: GenerateInputs, picture: KeptPicture) -> Updates:
    """A picture as the init image of the generator that takes one.

    The file goes there unchanged: by its hash the history knows the parent of what is drawn.

    Raises:
        HistoryError: the file is gone, or no generator takes an init image.
    """
    group = inputs.init_target()
    if group is None or (file := group.pictures.init_image) is None:
        raise HistoryError("No generator here starts from a picture.")
    updates: Updates = {other.chosen: other is group for other in inputs.controls}
    updates |= {other.varied: "" for other in inputs.controls}
    updates |= {inputs.prompt: picture.prompt, inputs.handed: picture.prompt,
                file: in_cache(history, file, picture.sha256)}
    note = strings.INIT_TAKEN.format(group.pipeline.title)
    return {inputs.note: kept_note(note), **set_to(updates)}
