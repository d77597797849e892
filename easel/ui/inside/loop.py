"""The loop: VQGAN+CLIP step by step, for one prompt or for two from the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from easel.ui.inside.chooser import Chooser
from easel.ui.inside.view import View, picture, render_grid, render_means
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.controls import MAX_TYPED_CHARS
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.tiles import render_curve
from easel.words import strings
from easel.words.language import figure
from pipelines.core.errors import InvalidRequest
from pipelines.inside.loop import MAX_CUTOUTS, MAX_STEPS, MIN_STEPS, Loop, WatchLoop

CODE_PX = 8  # side of a code in the map of those that changed
COLUMNS = 4  # of cutouts


def build_loop(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    usual = WatchLoop("a red apple")
    view = View(lab, chooser, "loop", strings.LOOP_QUESTION, strings.LOOP_GUESS_INFO)
    with view.column:
        other = gr.Textbox(label=strings.LOOP_OTHER, info=strings.LOOP_OTHER_INFO, max_lines=2,
                           max_length=MAX_TYPED_CHARS, elem_id="inside-loop-other")
        build_note(lab.playground.reader, other, "inside-loop-note")
        steps = gr.Slider(MIN_STEPS, MAX_STEPS, value=usual.steps, step=1, buttons=[],
                          label=strings.LOOP_STEPS, elem_id="inside-loop-steps")
        cutouts = gr.Slider(1, MAX_CUTOUTS, value=usual.cutouts, step=1, buttons=[],
                            label=strings.LOOP_CUTOUTS, info=strings.LOOP_CUTOUTS_INFO,
                            elem_id="inside-loop-cutouts")
        seed = gr.Number(usual.seed, precision=0, minimum=0, maximum=2**32 - 1,
                         label=strings.LOOP_SEED, info=strings.LOOP_SEED_INFO,
                         elem_id="inside-loop-seed")
    view.finish(strings.LOOP_DO, strings.LOOP_EMPTY, strings.LOOP_SOURCE)

    def look(asked: Asked) -> str:
        numbers = [whole(asked.values[field]) for field in (seed, steps, cutouts)]
        prompts = [asked.text(chooser.prompt), *filter(None, [asked.text(other).strip()])]
        # Both are checked before the first is drawn.
        questions = [WatchLoop(prompt, *numbers) for prompt in prompts]
        return render_loops([lab.backend.inside(question, asked.run.next_job())
                             for question in questions], questions[0].seed)

    view.connect(tasks, tabs, look, [other, steps, cutouts, seed], of="prompt")


def whole(value: Any) -> Any:
    """A number of a field as a whole one where it is one; the question says what else is wrong.

    Raises:
        InvalidRequest: there is none.
    """
    if value is None:
        raise InvalidRequest("{} is missing.", strings.LOOP_SEED, field="seed")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def render_loops(loops: Sequence[Loop], seed: int) -> str:
    """The steps to walk over, and of the chosen one, at first the last, what each run was about to
    do."""
    first, count = loops[0], len(loops[0].losses)
    head = strings.LOOP_LOSS.format(figure(first.losses[0], ".3f"), figure(first.losses[-1], ".3f"),
                                    count)
    judged = strings.LOOP_JUDGED.format(figure(first.cosines[0], ".2f"),
                                        figure(first.cosines[-1], ".2f"))
    curves = "".join(
        render_curve(strings.LOOP_LINE.format(_name(loop)),
                     list(enumerate(loop.losses, start=1)))
        + render_curve(strings.LOOP_JUDGE_LINE.format(_name(loop)),
                       [(step.step, cosine) for step, cosine in
                        zip(loop.steps, loop.cosines, strict=True)]) for loop in loops)
    film = [[(strings.LOOP_CELL.format(step.step, int(step.changed.sum())),
              f'data-shows="{at}"') for at, step in enumerate(first.steps)]]
    last = len(first.steps) - 1
    shown = "".join(_step(loops, at, count, at == last) for at in range(len(first.steps)))
    strips = "".join(render_film([picture(step.picture, "") for step in loop.steps])
                     for loop in loops)
    strips += render_film([str(step.step) for step in first.steps])
    return (f'<p class="inside-figure">{escape(head)}</p>{render_note(judged)}'
            f"{render_note(strings.LOOP_FROM.format(seed, strings.LOOP_SEED))}"
            f"{render_means(strings.LOOP_MEANS)}"
            f'<div class="curves">{curves}</div>'
            f'<div class="inside-grid"><div class="films">{strips}'
            f'{render_grid(strings.LOOP, film, "cells", last)}</div>'
            f'<output class="lab-note">{escape(strings.LOOP_WALK)}</output>{shown}</div>')


def _name(loop: Loop) -> str:
    return " | ".join(text for text, _ in loop.texts)


def _step(loops: Sequence[Loop], at: int, count: int, shows: bool) -> str:
    """What each run was about to do at one of the steps; page.js shows that of the chosen one."""
    title = strings.LOOP_STEP.format(loops[0].steps[at].step, count)
    runs = "".join(_run(loop, at) for loop in loops)
    return (f'<section data-cell="{at}"{"" if shows else " hidden"}><h4>{escape(title)}</h4>'
            f"{runs}</section>")


def _run(loop: Loop, at: int) -> str:
    step = loop.steps[at]
    distances = "".join(
        render_note(strings.LOOP_DISTANCE.format(text, figure(value, ".3f")) if weight == 1 else
                    strings.LOOP_WEIGHED.format(text, figure(weight, "g"), figure(value, ".3f")))
        for (text, weight), value in zip(loop.texts, step.distances, strict=True))
    distances += render_note(strings.LOOP_COSINE.format(figure(loop.cosines[at], ".2f")))
    codes = (strings.LOOP_CHANGED.format(int(step.changed.sum()), step.changed.size)
             if step.step > 1 else strings.LOOP_FIRST)
    seen = strings.LOOP_SEEN_WHOLE if len(step.cutouts) == 1 else (
        strings.LOOP_SEEN.format(len(step.cutouts)))
    figures = "".join(
        f"<figure>{picture(pixels, title)}<figcaption>{escape(title)}</figcaption></figure>"
        for pixels, title in (
            (step.picture, strings.LOOP_PICTURE),
            (tiled(step.cutouts), seen),
            (grey(step.pull), strings.LOOP_PULL), (step.wanted, strings.LOOP_WANTED),
            (grey(np.kron(step.changed, np.ones((CODE_PX, CODE_PX)))), codes)))
    return f'{distances}<div class="inside-row five">{figures}</div>'


def render_film(frames: Sequence[str]) -> str:
    """What belongs to the steps, a column each: their pictures, or their numbers."""
    columns = "".join(f"<span>{frame}</span>" for frame in frames)
    return f'<div class="film" style="--steps:{len(frames)}">{columns}</div>'


def tiled(cutouts: np.ndarray) -> np.ndarray:
    """Cutouts (K, P, P, 3) uint8 as one picture, up to ``COLUMNS`` beside each other."""
    count, side = len(cutouts), cutouts.shape[1]
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    full = np.full((rows * columns, side, side, 3), 128, np.uint8)
    full[:count] = cutouts
    return np.concatenate([np.concatenate(list(row), 1)
                           for row in full.reshape(rows, columns, side, side, 3)])


def grey(values: np.ndarray) -> np.ndarray:
    """Values (H, W) in [0, 1] as a picture (H, W, 3) uint8, white for 1."""
    return np.repeat((values * 255).round().astype(np.uint8)[..., None], 3, 2)
