"""Prior: unCLIP's embeddings in a plane, the prior on and off, and what guidance compares."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import gradio as gr

from easel.ui.inside.chooser import Chooser
from easel.ui.inside.loop import grey, render_film, whole
from easel.ui.inside.view import View, picture, render_grid, render_means
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.task import Asked, Tasks
from easel.words import strings
from easel.words.language import figure
from pipelines.core.options import option_fields
from pipelines.inside.prior import Placed, Prediction, PriorSeen, WatchPrior
from pipelines.unclip.pipeline import UnclipOptions

WIDTH, HEIGHT, MARGIN = 480, 360, 16
ARROW = ('<defs><marker id="way" viewBox="0 0 6 6" refX="8" refY="3" markerWidth="6" '
         'markerHeight="6" orient="auto"><path d="M0 0 6 3 0 6z"/></marker></defs>')
RADII = {"on": 4, "off": 8, "chosen": 12, "caption": 16}  # of the marks


def build_prior(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    usual = WatchPrior("a red apple")
    [known] = [option for option in option_fields(UnclipOptions)
               if option.name == "decoder_guidance_scale"]
    view = View(lab, chooser, "prior", strings.PRIOR_QUESTION, strings.PRIOR_GUESS_INFO)
    with view.column:
        guidance = gr.Slider(1.5, known.maximum or 20, value=usual.guidance_scale, step=0.5,
                             buttons=[], label=known.title, elem_id="inside-prior-guidance")
        seed = gr.Number(usual.seed, precision=0, minimum=0, maximum=2**32 - 1,
                         label=strings.LOOP_SEED, info=strings.LOOP_SEED_INFO,
                         elem_id="inside-prior-seed")
    view.finish(strings.PRIOR_DO, strings.PRIOR_EMPTY, strings.PRIOR_SOURCE)

    def look(asked: Asked) -> str:
        chosen = chooser.read(asked) if asked.values[chooser.picture] else None
        question = WatchPrior(asked.text(chooser.prompt), whole(asked.values[seed]),
                              asked.values[guidance], chosen)
        return render_prior(lab.backend.inside(question, asked.run.next_job()))

    view.connect(tasks, tabs, look, [guidance, seed])


def render_prior(found: PriorSeen) -> str:
    """The plane, the two pictures, and the decoder's predictions to walk over."""
    on, off = found.with_prior, found.without_prior
    counts = len(found.others), len(found.rendered), len(found.drawn)
    paired = [figure(cosine, ".2f") for cosine in found.own_cosines]
    explained = figure(100 * found.explained, ".0f")
    head = strings.PRIOR_COSINE.format(figure(on.embedding.cosine, ".3f"))
    pair = "".join(
        f"<figure>{picture(way.picture, title)}<figcaption>{escape(title)}<br>"
        f"{escape(strings.PRIOR_SEEN.format(figure(way.seen.cosine, '.3f')))}<br>"
        f"{escape(strings.PRIOR_RANKED.format(figure(way.ranker_cosine, '.2f')))}"
        "</figcaption></figure>"
        for way, title in ((on, strings.PRIOR_ON), (off, strings.PRIOR_OFF)))
    cells = [[(strings.PRIOR_CELL.format(each.step), f'data-shows="{at}"')
              for at, each in enumerate(found.predictions)]]
    film = (render_film([picture(each.guided, "") for each in found.predictions])
            + render_film([str(each.step) for each in found.predictions]))
    shown = "".join(_prediction(each, at, len(found.predictions))
                    for at, each in enumerate(found.predictions))
    return (f'<p class="inside-figure">{escape(head)}</p>'
            f"{render_note(strings.PRIOR_PAIRED.format(*paired))}"
            f"{render_means(strings.PRIOR_PLANE.format(*counts, explained), strings.PRIOR_JUDGE)}"
            f"{render_plane(found)}"
            f'<div class="inside-row two">{pair}</div>'
            f'<details class="inside-means"><summary>{escape(strings.PRIOR_GUIDANCE)}</summary>'
            f'<div class="inside-grid"><div class="films">{film}'
            f'{render_grid(strings.PRIOR_GUIDANCE, cells, "cells")}</div>'
            f'<output class="lab-note">{escape(strings.LOOP_WALK)}</output>{shown}</div>'
            "</details>")


def _prediction(each: Prediction, at: int, count: int) -> str:
    title = strings.LOOP_STEP.format(each.step, count)
    figures = "".join(
        f"<figure>{picture(pixels, said)}<figcaption>{escape(said)}</figcaption></figure>"
        for pixels, said in (
            (each.told, strings.PRIOR_TOLD), (each.untold, strings.PRIOR_UNTOLD),
            (grey(each.difference), strings.PRIOR_DIFFERENCE), (each.guided, strings.PRIOR_GUIDED)))
    return (f'<section data-cell="{at}"{"" if at == 0 else " hidden"}><h4>{escape(title)}</h4>'
            f'<div class="inside-row">{figures}</div></section>')


def render_plane(found: PriorSeen) -> str:
    """The plane as a drawing, and in words what is marked in it."""
    marked = [("on", strings.PRIOR_ON, found.with_prior.seen),
              ("off", strings.PRIOR_OFF, found.without_prior.seen)]
    if found.chosen is not None:
        marked.append(("chosen", strings.PRIOR_CHOSEN, found.chosen))
    # All of these may lie in one place: rings in rings around a dot, the largest last.
    marked.append(("caption", strings.PRIOR_CAPTION, found.caption))
    points = [*found.others, *found.rendered, *found.drawn, *found.steps,
              *(each for _, _, each in marked)]
    left, right = (edge(each.at[0] for each in points) for edge in (min, max))
    low, high = (edge(each.at[1] for each in points) for edge in (min, max))

    def at(each: Placed) -> tuple[str, str]:
        x = (each.at[0] - left) / ((right - left) or 1)
        y = (high - each.at[1]) / ((high - low) or 1)
        return (f"{MARGIN + x * (WIDTH - 2 * MARGIN):.1f}",
                f"{MARGIN + y * (HEIGHT - 2 * MARGIN):.1f}")

    dots = "".join(_dot("other", at(each), each.text, 3) for each in found.others)
    dots += "".join(
        _square(kind, at(each), title.format(each.text, figure(each.cosine, ".3f")))
        for kind, title, pictures in (("rendered", strings.PRIOR_RENDERED, found.rendered),
                                      ("drawn", strings.PRIOR_DRAWN, found.drawn))
        for each in pictures)
    path = "".join(f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" marker-end="url(#way)"/>'
                   for (x, y), (to_x, to_y) in pairwise(map(at, found.steps)))
    steps = "".join(_dot("step", at(each), strings.PRIOR_STEP.format(
        each.text, figure(each.cosine, ".3f")), 4) for each in found.steps)
    steps += _dot("start", at(found.steps[0]), strings.PRIOR_START, 7)
    marks = "".join(_dot(kind, at(each), name, RADII[kind]) for kind, name, each in marked)
    legend = "".join(
        f'<li class="{kind}">{escape(name)} <b>{figure(each.cosine, ".3f")}</b></li>'
        for kind, name, each in [*marked, ("start", strings.PRIOR_START, found.steps[0]),
                                 ("step", strings.PRIOR_STEPS, found.steps[-1])])
    around = "".join(f'<li class="{kind}">{escape(name)}</li>' for kind, name in (
        ("other", strings.PRIOR_OTHERS), ("rendered", strings.PRIOR_RENDERED_ALL),
        ("drawn", strings.PRIOR_DRAWN_ALL)))
    return (f'<figure class="plane"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(strings.PRIOR_DRAWING)}">{ARROW}{dots}'
            f"{path}{steps}{marks}</svg>"
            f'<figcaption>{escape(strings.PRIOR_LEGEND)}<ul>{legend}</ul>'
            f"<ul>{around}</ul></figcaption></figure>")


def _dot(kind: str, at: tuple[str, str], said: str, radius: int) -> str:
    return (f'<circle class="{kind}" cx="{at[0]}" cy="{at[1]}" r="{radius}">'
            f"<title>{escape(said)}</title></circle>")


def _square(kind: str, at: tuple[str, str], said: str, side: int = 8) -> str:
    """A picture, which a dot is not."""
    x, y = (f"{float(each) - side / 2:.1f}" for each in at)
    return (f'<rect class="{kind}" x="{x}" y="{y}" width="{side}" height="{side}">'
            f"<title>{escape(said)}</title></rect>")
