"""One stream: what DALL·E's transformer expected of a plan and of each block of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.turns import reading
from easel.ui.inside.chooser import Chooser
from easel.ui.inside.looked import layer_name, render_maps, render_words
from easel.ui.inside.planned import LEAST, render_plan, share
from easel.ui.inside.view import View, picture, render_figure, render_grid, render_means
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import percent, render_note
from easel.ui.parts.panel import data_uri
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.uploads import read_upload
from easel.words import strings
from easel.words.language import figure
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.images import load_small
from pipelines.core.metadata import read_png
from pipelines.core.options import option_fields, parse_options
from pipelines.dalle import TRANSFORMER, DalleOptions
from pipelines.inside.stream import ReadStream, Stream
from pipelines.inside.written import Written, written_by

SET = ("guidance_scale", "temperature", "top_k", "top_p")
MAX_COVER = 85  # percent
ODDS = 1_000_000  # below one in so many no share is written out
SEEN, TINY = 0.05, 1e-6  # shares: of a block that is shown first, and what counts as none
_CURRENT = ' aria-current="true"'
LIKELIER = 1.5  # times as likely with the caption; less is nothing to see


def build_stream(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    view = View(lab, chooser, "stream", strings.STREAM_QUESTION, strings.STREAM_GUESS_INFO)
    with view.column, gr.Accordion(strings.ADVANCED_LABEL, open=False, elem_id="stream-options",
                      elem_classes="lab-fold"):
        fields = option_sliders("stream", SET, DalleOptions())
    view.finish(strings.STREAM_DO, strings.STREAM_EMPTY, strings.STREAM_SOURCE)

    def look(asked: Asked) -> str:
        data = read_upload(chooser.path(asked))
        options = options_asked(asked, fields)
        with reading.turn():
            question = ReadStream(load_small(data), asked.text(chooser.prompt), options,
                                  written_in(data))
        found = lab.backend.inside(question, asked.run.next_job())
        return render_stream(found, question.prompt)

    view.connect(tasks, tabs, look, list(fields.values()),
                 [field.release for field in fields.values()])


def option_sliders(name: str, options: Sequence[str], first: DalleOptions,
                   ) -> dict[str, gr.Slider]:
    """Sliders of some of DALL·E's options for a view, by the option; they begin at ``first``."""
    known = {option.name: option for option in option_fields(DalleOptions)}
    return {each: gr.Slider(known[each].minimum or 0, known[each].maximum or 1,
                            value=getattr(first, each),
                            step=1 if known[each].kind == "int" else 0.01, buttons=[],
                            label=known[each].title, info=known[each].description,
                            elem_id=f"inside-{name}-{each}")
            for each in options}


def dalle_options(values: Any, usual: Mapping[str, Any] = MappingProxyType({})) -> DalleOptions:
    """DALL·E's options by name.

    Args:
        values: those that were set, from anyone.
        usual: what others are, where that is not the generator's default.

    Raises:
        InvalidRequest: they are no such values, one is out of range, or another model's.
    """
    if not isinstance(values, dict | None):
        raise InvalidRequest("Options must be values by name.", field="options")
    options = parse_options(DalleOptions, {**usual, **(values or {})})
    assert isinstance(options, DalleOptions)
    if options.model != TRANSFORMER:
        raise InvalidRequest("Inside asks {} alone, not {!r}.", TRANSFORMER, options.model[:40],
                             field="model")
    return options


def options_asked(asked: Asked, fields: Mapping[str, gr.Slider]) -> DalleOptions:
    """DALL·E's options as they were set.

    Raises:
        InvalidRequest: one is out of range.
    """
    return dalle_options({name: asked.values[field] for name, field in fields.items()})


def written_in(data: bytes) -> Written | None:
    """What a picture's file says of how DALL·E wrote it; None where it says nothing of it."""
    try:
        return written_by(dict(read_png(data)["easel"]))
    except (EaselError, KeyError, TypeError, ValueError):
        return None


def render_stream(found: Stream, prompt: str) -> str:
    """The plan, the surprise over the layers, and the likeliest blocks of the place that is chosen:
    at first of a telling one."""
    total, without = float(found.surprise.sum()), float(found.without.sum())
    first, by_caption = telling(found)
    worst = int(found.surprise.argmax())
    most = figure(float(found.surprise[worst]), ".2f")
    notes = [strings.STREAM_TOTAL.format(figure(total, ".1f"), figure(without, ".1f")),
             strings.STREAM_MOST.format(_at(found, worst, strings.STREAM_AT), most)
             + " " + (strings.STREAM_FIRST if by_caption else strings.STREAM_FIRST_MOST)]
    means = [strings.STREAM_NATS.format(figure(found.count, ",")), strings.STREAM_DRAWS]
    if found.reread:
        notes.append(strings.STREAM_REREAD)
    else:
        means.append(strings.STREAM_WRITTEN)
    details = "".join(_detail(found, at, at == first) for at in range(len(found.surprise)))
    # All patches as one picture: a row a block, a column a candidate.
    sprite = data_uri(np.concatenate([np.concatenate(list(row), 1) for row in found.patches]))
    count, candidates = found.patches.shape[:2]
    layers = "".join(_layer(found, layer, first) for layer in range(len(found.layers)))
    head = strings.STREAM_FIGURE.format(figure(total, ".1f"), prompt)
    shown = render_figure(picture(found.picture, prompt), strings.STREAM_PICTURE)
    return (f'<p class="inside-figure">{escape(head)}</p>{"".join(map(render_note, notes))}'
            f"{render_means(*means)}"
            f'<div class="stream-head">{shown}{render_plan(found.plan)}</div>'
            f'<div class="inside-grid heat-box lab-one inside-pair" style="--rows:{count};'
            f'--columns:{candidates};--patches:url({sprite})"><div>'
            f'<label class="inside-switch"><input type="checkbox" checked> '
            f"{escape(strings.STREAM_MAP)}</label>"
            f'<div class="inside-row stream-layers">{layers}</div>'
            f'<ul class="legend"><li><span class="for"></span>'
            f"{escape(strings.STREAM_LEGEND.format(most))}</li>"
            f'</ul><output class="lab-note">{escape(strings.STREAM_WALK)}</output></div>'
            f"<div>{details}</div></div>"
            f"{render_maps(found.looked, found.layers, found.stages, found.side)}")


def _layer(found: Stream, layer: int, first: int) -> str:
    """One layer under its blocks; Tab comes to the one that is shown first, or to its first one."""
    steps, most = found.side**2, max(float(found.surprise.max()), 1e-9)
    begins = layer * steps
    rows = [[(_at(found, at, strings.STREAM_CELL, figure(float(found.surprise[at]), ".2f")),
              f'class="for" data-shows="{at}"{_CURRENT if at == first else ""} '
              f'style="--cover:{MAX_COVER * float(found.surprise[at]) / most:.0f}%"')
             for at in range(start, start + found.side)]
            for start in range(begins, begins + steps, found.side)]
    name = layer_name(found.stages[layer])
    grid = render_grid(f"{strings.STREAM_MAP}: {name}", rows, "cells",
                       first - begins if begins <= first < begins + steps else 0)
    pixels = picture(found.layers[layer], name)
    return render_figure(f'<div class="heat">{pixels}{grid}</div>', name)


def _at(found: Stream, number: int, template: str, *more: str) -> str:
    """A sentence of a block's row, column and layer."""
    layer, row, column = found.place(number)
    stage = found.stages[layer]
    of = {"at once": strings.LAYER_OF_THING, "draft": strings.LAYER_OF_DRAFT,
          "finished": strings.LAYER_OF_FINISHED}[stage.how].format(stage.thing)
    of = of if stage.thing else strings.LAYER_OF_GROUND
    return template.format(row + 1, column + 1, of, *more)


def telling(found: Stream) -> tuple[int, bool]:
    """The block that is shown first, and whether for what the caption adds: the one in which it
    decides most of what stands there, of those that are likely enough with it to be seen; where it
    makes none of them much likelier, the most surprising one."""
    own, without = found.likely[:, 0], found.likely_without[:, 0]
    gain = np.log(np.maximum(own, TINY)) - np.log(np.maximum(without, TINY))
    best = int(np.where(own >= min(SEEN, own.max()), gain, -np.inf).argmax())
    by_caption = bool(gain[best] >= np.log(LIKELIER))
    return (best if by_caption else int(found.surprise.argmax())), by_caption


def _chance(probability: float) -> str:
    """A probability in a sentence; a small one, to two digits, as one in so many."""
    if probability >= LEAST:
        return percent(probability)
    if probability < 1 / ODDS:
        return f"< {strings.STREAM_ODDS.format(figure(ODDS, ','))}"
    return strings.STREAM_ODDS.format(figure(float(f"{1 / probability:.1e}"), ",.0f"))


def _why(found: Stream, at: int) -> str:
    """Why a block surprised as much as it did, in a sentence."""
    nats, own = figure(float(found.surprise[at]), ".2f"), float(found.likely[at, 0])
    most = float(found.likely[at, 1:].max(initial=0))
    if own > 0.5:
        return strings.STREAM_SURE.format(nats, _chance(own))
    if own >= most:
        return strings.STREAM_MANY.format(nats, _chance(own))
    return strings.STREAM_OTHER.format(nats, _chance(own), _chance(most))


def _detail(found: Stream, at: int, shows: bool) -> str:
    """What is known of one block; page.js shows that of the chosen one."""
    names = [strings.STREAM_OWN, *(strings.STREAM_RANK.format(rank)
                                   for rank in range(1, found.patches.shape[1]))]
    rows = "".join(
        f'<tr><th scope="row"><i class="patch" style="--row:{at};--column:{column}" '
        f'aria-hidden="true"></i><span>{escape(name)}</span></th>'
        + "".join(f"<td>{escape(share(float(shares[at, column])))}</td>"
                  for shares in (found.likely, found.likely_without, found.drawn)) + "</tr>"
        for column, name in enumerate(names))
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in (
        strings.STREAM_BLOCK, strings.STREAM_WITH, strings.STREAM_WITHOUT, strings.STREAM_LEFT))
    title = _at(found, at, strings.STREAM_PLACE)
    return (f'<div data-cell="{at}"{"" if shows else " hidden"}><table class="blocks">'
            f"<caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{render_note(_why(found, at))}"
            f"{render_words(found.looked, at)}</div>")
