"""Models: what to wish for, what there is, and buttons to download, load, unload and pin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.history.records import Filters
from easel.history.store import History
from easel.serving.jobs import RunnerCounts
from easel.ui.models.admins import ModelAdmins
from easel.ui.models.advice import machine_of
from easel.ui.models.render import render_models, render_wishes
from easel.ui.models.wishes import fetch, give_up
from easel.ui.parts.errors import one_sentence, shows_errors_by
from easel.ui.parts.invitation import drawn_earlier
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import fill_html
from easel.ui.parts.samples import load_samples
from easel.ui.parts.theme import LIVE, PLAIN
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.models.cache.inventory import Act, ModelInventory, Models, act_on
from pipelines.registry import Registry

TICK_S = 1.0


def build_models(inventory: Models, tab: gr.Tab, admins: ModelAdmins,
                 history: History | None = None, registry: Registry | None = None,
                 runners: Callable[[], RunnerCounts | None] = lambda: None) -> None:
    """Lay the tab out and connect it.

    Args:
        inventory: the models.
        tab: the one under construction.
        admins: who may change them.
        history: which knows how long a picture took here; None where nothing is kept.
        registry: which knows who draws by which models; None where nobody does.
        runners: says how many runners of a cluster there are; None where this machine draws.
    """
    generators = () if registry is None else (*registry, *registry.waiting())
    password = _build_password(admins) if admins.has_password else None
    inside = gr.HTML("", elem_id="models-inside", **PLAIN)
    samples = load_samples(inside, registry or Registry())
    fill_html(inside, lambda: drawn_earlier(
        strings.MODELS_INSIDE, [(card.path, card.prompt) for card in samples]))
    cards = gr.HTML("", elem_id="models", **PLAIN)
    with gr.Accordion(strings.MODELS_ALL, open=False, elem_id="models-all") as fold:
        table = gr.HTML("", elem_id="models-table", **PLAIN)
    # Buttons are HTML; what was pressed comes through a field, as "ACT ID" and a stamp.
    pressed = gr.Textbox(elem_id="model-act", elem_classes="offstage", label=strings.TAB_MODELS)
    timer = gr.Timer(TICK_S, active=False)
    shown = [cards, table, timer]
    here = inventory if isinstance(inventory, ModelInventory) else None

    def show(request: gr.Request, alert: str = "") -> Updates:
        may = admins.may(request)
        # Asked first: what ends while the rest is drawn is drawn once more, by the next tick.
        moving = inventory.moving()
        counts = None
        with suppress(EaselError):  # a cluster that does not answer; the rest is as it was last
            counts = runners()
        wishes = render_wishes(
            inventory, alert, may,
            lambda wish: took_s(history, request, wish.drawn_by(generators)),
            None if here is None else machine_of(here))
        return {cards: wishes, table: render_models(inventory, may, counts),
                timer: gr.Timer(active=moving)}

    @shows_errors_by(str)
    def press(request: gr.Request, words: str | None) -> str:
        """Returns what speaks against it."""
        admins.check(request)
        perform(inventory, words or "")
        return ""

    def act(request: gr.Request, words: str | None) -> Updates:
        return show(request, press(request, words))

    if password is not None:
        password.success(show, None, shown, **LIVE)
    gr.on([tab.select, fold.expand, timer.tick], show, None, shown, **LIVE)
    pressed.change(act, pressed, shown, **LIVE)


def took_s(history: History | None, request: gr.Request, pipeline: str) -> float | None:
    """Seconds that a generator took for a visitor's last picture; None where that is not known."""
    try:
        if history is None or not pipeline:
            return None
        owner = history.owner_of(visitor_of(request))
        kept = history.page(owner, Filters(pipeline=pipeline), size=1, count_to=0).pictures
        facts = kept[0].facts if kept else {}
        return float(facts["elapsed_s"]) / max(1, int(facts.get("num_images", 1)))
    except (EaselError, KeyError, TypeError, ValueError):
        return None


def _build_password(admins: ModelAdmins) -> Any:
    """A field for the password; returns the event of its being entered."""
    with gr.Row(equal_height=True, elem_id="models-password"):
        field = gr.Textbox(label=strings.MODELS_PASSWORD, type="password", max_lines=1,
                           elem_id="models-password-field", min_width=160)
        enter = gr.Button(strings.MODELS_ENTER, size="sm", min_width=90, elem_id="models-enter",
                          scale=0)

    @one_sentence
    def entered(request: gr.Request, text: str) -> str:
        admins.enter(request, text or "")
        return ""

    return gr.on([enter.click, field.submit], entered, field, field, **LIVE)


def perform(inventory: Models, words: str) -> None:
    """Do what a button says.

    Args:
        inventory: the models.
        words: act, id of a model or a wish, and a stamp that is ignored, with spaces between
            them.

    Raises:
        EaselError: it cannot be done, in a sentence.
    """
    act, _, rest = words.partition(" ")
    model_id = rest.partition(" ")[0]
    if act in ("get", "halt"):
        (fetch if act == "get" else give_up)(inventory, model_id)
        return
    inventory.catalogue.get(model_id)
    known: Act | None = next((each for each in get_args(Act) if each == act), None)
    if known is None:
        raise InvalidRequest("There is nothing called {!r} to do with a model.", act[:20])
    act_on(inventory, known, model_id)
    if known == "pin":
        inventory.load(model_id)
