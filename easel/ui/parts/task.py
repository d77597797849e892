"""One way to run what the lab does: progress, Stop, one sentence for faults, and asking first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.ui.lab.lab import STOPPED, Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.runs import Run
from easel.ui.parts.theme import LIVE
from easel.ui.parts.visitors import visitor_of
from easel.ui.words import strings
from easel.ui.words.page_words import worded_html
from pipelines.core.errors import (
    Cancelled,
    EaselError,
    IndexOutdated,
    SearchIndexError,
)

logger = logging.getLogger(__name__)
PLACE = "lab"
# In the page but not seen: with visible=False a button is taken out of it, and what it is told
# while it is put back in may be lost.
HIDDEN: Any = "hidden"
# A page that is redrawn more often than people see costs the device's thread its time.
REDRAW_EVERY_S = 0.12


@dataclass(frozen=True)
class Shown:
    """What a run ends with: HTML for the stage."""

    html: str


@dataclass(frozen=True)
class Asked:
    """What a person asked for.

    Attributes:
        values: of the components, by component.
        visitor: who asks.
        run: what Stop acts on.
        rebuild: whether an index that does not fit may be replaced.
    """

    values: Mapping[Any, Any]
    visitor: str
    run: Run
    rebuild: bool = False

    def text(self, component: Any) -> str:
        """The text of a component, "" where it has none."""
        return str(self.values[component] or "")


Work = Callable[[Asked], Generator[str | Shown]]


@dataclass
class Outputs:
    """What every part of the lab shows its work in."""

    stage: gr.HTML
    stop: gr.Button
    rebuild: gr.Button
    go: gr.Button

    def components(self) -> list[gr.components.Component]:
        """In the order of ``_update``."""
        return [self.stage, self.go, self.stop, self.rebuild]


def build_stage(hint: str, name: str) -> gr.HTML:
    """Where outcomes go."""
    return worded_html(lambda: render_note(hint), elem_id=f"lab-{name}-stage",
                       elem_classes="lab-stage")


def build_buttons(label: str, name: str) -> tuple[gr.Button, gr.Button, gr.Button]:
    """Go, Stop, and Rebuild, which shows itself when it is needed."""
    with gr.Row(elem_classes="lab-buttons"):
        go = gr.Button(label, variant="primary", elem_id=f"lab-{name}", min_width=120)
        stop = gr.Button(strings.STOP, interactive=False, min_width=80,
                         elem_id=f"lab-{name}-stop", elem_classes="lab-stop")
    rebuild = gr.Button(strings.LAB_REBUILD, size="sm", visible=HIDDEN,
                        elem_id=f"lab-{name}-rebuild")
    return go, stop, rebuild


def connect(lab: Lab, listen: Callable[..., Any], work: Work, inputs: set[Any],
            outputs: Outputs, rebuild: bool = False) -> None:
    """Let an event start some work.

    Args:
        lab: what works.
        listen: a component's event, such as ``button.click``, or the ``then`` of another one.
        work: what is done, and shown as it goes.
        inputs: components whose values it needs.
        outputs: where it is shown.
        rebuild: see ``Asked``.
    """
    def steps(values: Mapping[Any, Any], request: gr.Request) -> Generator[tuple[Any, ...]]:
        run = lab.playground.runs.start(request.session_hash or "", visitor_of(request), PLACE)
        yield _update(render_note(strings.LAB_STARTING), busy=True)
        try:
            with closing(_shown(work(Asked(values, run.visitor, run, rebuild)))) as changes:
                yield from changes
        finally:
            lab.playground.runs.end(run)
        yield _update(None, busy=False)

    def handler(values: Mapping[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        with closing(steps(values, request)) as changes:
            yield from said_whole(changes)

    listen(handler, inputs, outputs.components(), show_progress="hidden", concurrency_limit=None,
           trigger_mode="once", api_visibility="private")


def connect_stop(lab: Lab, button: gr.Button) -> None:
    """Let a button end what the visitor's session does in the lab."""
    def stop(request: gr.Request) -> None:
        lab.playground.runs.stop(request.session_hash or "", PLACE)

    button.click(stop, None, None, **LIVE)


def said_whole(messages: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Messages in which every button is told all that it was told before.

    Gradio sends the difference to the message before, and its page puts that into the message
    before itself, which may still wait to be shown. Where two come close together, a button that
    the second one skips would never hear of the first. Texts are replaced whole and need no care.
    """
    told: list[Any] = []
    for stage, *buttons in messages:
        told = [{**old, **new} for old, new in zip(told, buttons, strict=True)] if told else buttons
        yield stage, *told


def _shown(steps: Generator[str | Shown]) -> Generator[tuple[Any, ...]]:
    told_s = 0.0
    try:
        with closing(steps):
            for step in steps:
                if isinstance(step, Shown):
                    yield _update(step.html)
                elif time.monotonic() - told_s > REDRAW_EVERY_S:
                    told_s = time.monotonic()
                    yield _update(render_note(step))
    except Cancelled as error:
        told = str(error) if str(error) == STOPPED else strings.LAB_STOPPED
        yield _update(render_note(told))
    except SearchIndexError as error:
        yield _update(render_note(str(error), alert=True), ask=isinstance(error, IndexOutdated))
    except EaselError as error:
        yield _update(render_note(str(error), alert=True))
    except Exception:
        logger.exception("the lab failed")
        yield _update(render_note(strings.UNEXPECTED, alert=True))


def _update(html: str | None, busy: bool | None = None, ask: bool | None = None,
            ) -> tuple[Any, ...]:
    """Changes of the stage, Go, Stop and Rebuild, in this order."""
    stage = gr.skip() if html is None else html
    go = gr.skip() if busy is None else gr.update(interactive=not busy)
    stop = gr.skip() if busy is None else gr.update(interactive=busy)
    rebuild = gr.skip()
    if ask is not None or busy:
        rebuild = gr.update(visible=True if ask else HIDDEN)
    return stage, go, stop, rebuild
