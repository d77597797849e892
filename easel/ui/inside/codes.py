"""Codes: a picture as the numbers of a VQGAN, each of which may be looked at and exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.visitors import session_of, visitor_of
from easel.ui.inside.chooser import Chooser
from easel.ui.inside.view import View, picture, render_figure, render_grid, render_means
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import PLAIN
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import read_small
from easel.words import strings
from easel.words.language import counted, figure
from pipelines.core.errors import InvalidRequest
from pipelines.inside.codes import CodeAt, Codes, LookAtCode, Near, Place, ReadCodes

PICK = "inside-code-pick"  # hidden; page.js writes there which code was pressed
AMPLIFIED = 4  # the difference; as it is, it is nearly black
GOLDEN_ANGLE = 137.508  # degrees between the hues of two numbers that follow each other
Swaps = tuple[str, Mapping[Place, int]]  # of which picture, and what was put where


def build_codes(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    view = View(lab, chooser, "codes", strings.CODES_QUESTION, strings.CODES_GUESS_INFO)
    view.finish(strings.CODES_DO, strings.CODES_EMPTY, strings.CODES_SOURCE)
    with view.results:
        detail = gr.HTML("", elem_id="inside-code", **PLAIN)
        pick = gr.Textbox(visible="hidden", elem_id=PICK)
        swaps = gr.State(("", {}))

    def look(asked: Asked) -> str:
        found = lab.backend.inside(ReadCodes(chooser.read(asked)), asked.run.next_job())
        return render_codes(found)

    @shows_errors_by(lambda sentence: (alert(sentence), gr.skip()))
    def picked(request: gr.Request, said: Any, path: Any, before: Swaps) -> tuple[str, Any]:
        place = place_of(said)[0]
        kept = swapped(said, before[1] if before[0] == path else {})
        run = lab.playground.runs.start(session_of(request), visitor_of(request), "inside-code")
        try:
            found = lab.backend.inside(
                LookAtCode(read_small(path), place, kept), run.next_job())
        finally:
            lab.playground.runs.end(run)
        if found.code == found.read:
            kept.pop(place, None)
        return render_code(found, place, kept), (path, kept)

    view.connect(tasks, tabs, look, more=lambda: {detail: "", swaps: ("", {})})
    view.part.go.click(lambda: ("", ("", {})), None, [detail, swaps], queue=False,
                       show_progress="hidden", api_visibility="private")
    pick.change(picked, [pick, chooser.picture, swaps], [detail, swaps], show_progress="hidden",
                concurrency_limit=None, trigger_mode="always_last", api_visibility="private")


def place_of(said: Any) -> tuple[Place, int | None]:
    """Row, column, and where there is one the code to put there, of what page.js says.

    Raises:
        InvalidRequest: it says nothing of the kind.
    """
    numbers = [int(part) for part in str(said or "").split()[:3]
               if part.isascii() and part.isdecimal() and len(part) < 7]
    if len(numbers) < 2:
        raise InvalidRequest("There is no such code.", field="place")
    return (numbers[0], numbers[1]), numbers[2] if len(numbers) > 2 else None


def swapped(said: Any, before: Mapping[Place, int]) -> dict[Place, int]:
    """What is put where after a press: a code, the one that was read, or all that were.

    Args:
        said: by page.js, row and column, then a code, "back", "reset", or none of them.
        before: what was.

    Raises:
        InvalidRequest: see ``place_of``.
    """
    (place, code), act = place_of(said), str(said).split()[2:3]
    if act == ["reset"]:
        return {}
    kept = {at: other for at, other in before.items() if at != place or act != ["back"]}
    return kept if code is None else {**kept, place: code}


def render_codes(found: Codes) -> str:
    """The picture, its codes, what is drawn of them, and what is lost."""
    side, count = len(found.grid), found.grid.size
    head = counted(found.distinct, strings.CODES_DISTINCT, figure(count, ","),
                   figure(found.count, ","))
    facts = [strings.CODES_PSNR.format(figure(found.psnr_db, ".1f"))]
    if len(set(found.levels)) == 1:  # else the codes are learned, or the channels differ
        facts.insert(0, strings.CODES_LEVELS.format(
            len(found.levels), found.levels[0], " · ".join(map(str, found.levels)),
            figure(found.count, ",")))
    lost = (found.difference.astype(int) * AMPLIFIED).clip(0, 255).astype(np.uint8)
    shown = "".join(render_figure(picture(pixels, title), title) for pixels, title in (
        (found.image, strings.CODES_READ.format(len(found.image))),
        (found.reconstruction, strings.CODES_DRAWN),
        (lost, strings.CODES_LOST.format(AMPLIFIED))))
    rows = [[(strings.CODES_CELL.format(row, column, figure(code, ",")),
              f'data-tell="{PICK}" data-say="{row - 1} {column - 1}" '
              f'style="background:{_colour(code)}"')
             for column, code in enumerate(line, start=1)]
            for row, line in enumerate(found.grid.tolist(), start=1)]
    title = strings.CODES_MAP.format(side, side)
    grid = render_figure(render_grid(title, rows, "code-map"), title)
    return (f'<p class="inside-figure">{escape(head)}</p>{render_note(" ".join(facts))}'
            f"{render_means(strings.CODES_MEANS)}"
            f'<div class="inside-grid"><div class="inside-row">{grid}{shown}</div>'
            f'<output class="lab-note">{escape(strings.CODES_PRESS)}</output></div>')


def render_code(found: CodeAt, place: Place, swaps: Mapping[Place, int]) -> str:
    """One code, its patch, those near it, and the picture where some were exchanged.

    What was exchanged stands in it once more, unseen, for the map (page.js).
    """
    row, column = place
    facts = [strings.CODES_NUMBER.format(figure(found.code, ","), row + 1, column + 1),
             strings.CODES_TIMES.format(found.times)]
    if found.digits:
        facts.insert(1, strings.CODES_DIGITS.format(" ".join(map(str, found.digits))))
    near = (f'<div class="here">{picture(found.patch, "")}<span>{figure(found.code, ",")}</span>'
            f"<small>{escape(strings.CODES_HERE)}</small></div>"
            + "".join(_choice(place, each) for each in found.nearest))
    shown = render_figure(picture(found.patch, facts[0]), strings.CODES_PATCH)
    if swaps:
        title = strings.CODES_CHANGED.format(len(swaps))
        shown += render_figure(picture(found.picture, title), title)
    nearest = escape(strings.CODES_NEAREST)
    distance = strings.CODES_DISTANCE_LEARNED if not found.digits else (
        strings.CODES_DISTANCE.format(figure(found.nearest[0].distance, ".2f")))
    marks = "".join(
        f'<i data-at="{at} {to}" data-colour="{_colour(code)}" data-said="'
        f'{escape(strings.CODES_NOW.format(at + 1, to + 1, figure(code, ",")))}"></i>'
        for (at, to), code in swaps.items())
    return (f'<section class="inside-code" aria-live="polite"><h4>{escape(facts[0])}</h4>'
            f'{render_note(" ".join(facts[1:]))}{_ways_back(found, place, swaps)}'
            f'<div hidden id="inside-swaps">{marks}</div>'
            f'<div class="inside-row small">{shown}</div>'
            f"<h4>{nearest}</h4>{render_note(distance)}"
            f'<div class="near" role="group" aria-label="{nearest}">{near}</div>'
            f"<h4>{escape(strings.CODES_FURTHEST)}</h4>"
            f'<div class="near">{_choice(place, found.furthest)}</div></section>')


def _ways_back(found: CodeAt, place: Place, swaps: Mapping[Place, int]) -> str:
    """Buttons that undo what was exchanged, here and everywhere."""
    ways = [("back", strings.CODES_BACK.format(figure(found.read, ",")))] if place in swaps else []
    if len(swaps) > len(ways):
        ways.append(("reset", strings.CODES_RESET))
    buttons = "".join(f'<button type="button" class="chip" data-tell="{PICK}" '
                      f'data-say="{place[0]} {place[1]} {act}">{escape(said)}</button>'
                      for act, said in ways)
    return f'<div class="chips">{buttons}</div>' if buttons else ""


def _colour(code: int) -> str:
    return f"hsl({code * GOLDEN_ANGLE % 360:.0f} 55% 55%)"


def _choice(place: Place, other: Near) -> str:
    """A code to press, which then takes the place."""
    number = figure(other.code, ",")
    return (f'<button type="button" data-tell="{PICK}" '
            f'data-say="{place[0]} {place[1]} {other.code}" '
            f'aria-label="{escape(strings.CODES_PUT.format(number))}">{picture(other.patch, "")}'
            f'<span>{number}</span><small>{figure(other.distance, ".2f")}</small></button>')
