"""The settings of Generate in the page's address: what the Link button writes and what is read.

Only what is not at its default stands there, as ``?prompt=a+cat&generators=dalle*2&seed=7&best=16
&dalle.temperature=1``: no pictures, nothing of a visitor, no command. Opening it fills the form in
and starts nothing. Addresses come from anyone: whatever is unknown or out of range is told in a
sentence and left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.serving.best_of import MAX_DRAWN
from easel.ui.parts.controls import GenerateInputs, PipelineControls
from easel.ui.parts.lines import Updates
from easel.ui.parts.live import LiveRuns
from easel.ui.parts.theme import LIVE
from easel.ui.parts.tiles import kept_note
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.core.json_values import read_json
from pipelines.core.options import OptionField, option_fields, parse_options
from pipelines.core.request import MAX_IMAGES, SEED_COUNT
from pipelines.core.texts import clean_text
from pipelines.inside.question import check_whole
from pipelines.registry import Registry

MAX_QUERY_CHARS = 4000  # of what is read; page.js writes at most half of that
MAX_SETTINGS = 200
MAX_TOLD = 10
OTHERS = ("prompt", "tab", "lesson", "present")  # what page.js and the prompt's own box read
PRESS = "link-press"  # hidden; page.js writes there that the Link button was pressed
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
# Asks the server where an address has settings alone; what hosts add begins with two underscores.
ASKED_JS = """() => {
  const others = OTHERS, window_ = sessionStorage.getItem("easel-window") ?? "";
  const keys = [...new URLSearchParams(location.search).keys()];
  if (!keys.some((key) => !others.includes(key) && !key.startsWith("__"))) return "";
  const fresh = performance.getEntriesByType("navigation")[0]?.type === "navigate";
  return JSON.stringify([location.search.slice(0, MOST + 1), window_, fresh]);
}""".replace("OTHERS", json.dumps(OTHERS)).replace("MOST", str(MAX_QUERY_CHARS))
LINK_JS = "(press, seed, best, options, ...values) => " \
          "{ window.easelLink(GENERATORS, seed, best, options, values); return []; }"


@dataclass
class Linked:
    """What an address asks for.

    Attributes:
        seed, best_of: None where it names none.
        counts: pictures of each generator that is ticked, None for the usual number; empty where
            the boxes stay as they are.
        options: plain values that were checked, by generator and name.
        taken: what of it fits, as people read it.
        unknown: keys that there are not here.
        refused: one sentence each about what is out of range.
    """

    seed: int | None = None
    best_of: int | None = None
    counts: dict[str, int | None] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def note(self) -> str:
        """What was taken and what was not, in the language to speak."""
        said = [strings.LINKED.format(", ".join(self.taken) or strings.FILLED_NOTHING)]
        if self.unknown:
            said.append(strings.LINKED_UNKNOWN.format(_few(self.unknown)))
        said += [strings.LINKED_REFUSED.format(sentence) for sentence in self.refused[:MAX_TOLD]]
        return " ".join(said)


def read_address(query: str, registry: Registry) -> Linked:
    """The settings of an address.

    Args:
        query: what stands after the path, from anyone.
        registry: which generators there are, and which are ready.
    """
    found = Linked()
    try:
        if len(query) > MAX_QUERY_CHARS:
            raise ValueError
        # What percent signs spell is nobody's typing: what no text may hold is left out of it.
        pairs = dict((clean_text(key), clean_text(value)) for key, value in parse_qsl(
            query.removeprefix("?"), keep_blank_values=True, errors="replace",
            max_num_fields=MAX_SETTINGS))
    except ValueError:
        found.refused.append(strings.LINKED_LONG.format(MAX_QUERY_CHARS, MAX_SETTINGS))
        return found
    for key, value in pairs.items():
        if key in OTHERS or key.startswith("__"):
            continue
        try:
            _take(found, key, value, registry)
        except InvalidRequest as error:
            found.refused.append(say(str(error)))
    return found


def _take(found: Linked, key: str, value: str, registry: Registry) -> None:
    """Add one setting.

    Raises:
        InvalidRequest: it is out of range.
    """
    if key == "seed":
        found.seed = _whole(value, 0, SEED_COUNT - 1, "Seed", key)
        found.taken.append(f"{strings.FILLED_SEED} {found.seed}")
    elif key == "best":
        found.best_of = _whole(value, 0, MAX_DRAWN, "Best of", key)
        found.taken.append(f"{strings.BEST_OF} {found.best_of}")
    elif key == "generators":
        _take_generators(found, value, registry)
    else:
        _take_option(found, key, value, registry)


def _take_generators(found: Linked, value: str, registry: Registry) -> None:
    ready = registry.names()
    for each in value.split()[:MAX_SETTINGS]:
        name, star, count = each.partition("*")
        if name not in ready:
            found.unknown.append(_short(name))
            continue
        try:
            found.counts[name] = _whole(count, 1, MAX_IMAGES, "Pictures", "num_images"
                                        ) if star else None
        except InvalidRequest as error:
            found.counts[name] = None
            found.refused.append(say(str(error)))
        title = registry.get(name).title
        counted = found.counts[name]
        found.taken.append(title if counted is None else f"{title} × {counted}")


def _take_option(found: Linked, key: str, value: str, registry: Registry) -> None:
    generator, dot, name = key.partition(".")
    known = {} if not dot or generator not in registry.names() else {
        option.name: option for option in option_fields(registry.get(generator).Options)}
    if name not in known:
        found.unknown.append(_short(key))
        return
    pipeline, option = registry.get(generator), known[name]
    # Each is checked alone, so that a fault takes nothing else along.
    checked = getattr(parse_options(pipeline.Options, {name: _typed(option, value)}), name)
    found.options.setdefault(generator, {})[name] = checked
    found.taken.append(f"{pipeline.title}: {say(option.title)}")


def _typed(option: OptionField, value: str) -> Any:
    """The choice or the number that is written so; the text itself where it is neither."""
    if option.kind in ("int", "float") and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return {str(choice): choice for choice in option.choices}.get(value, value)


def _whole(value: str, low: int, high: int, title: str, name: str) -> int:
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 12 else value
    check_whole(number, low, high, title, name)
    return int(number)


def _short(text: str) -> str:
    return " ".join(text.split())[:40]


def _few(names: Sequence[str]) -> str:
    more = [strings.FILLED_MORE.format(len(names) - MAX_TOLD)] if len(names) > MAX_TOLD else []
    return ", ".join([*names[:MAX_TOLD], *more])


def connect_address(page: gr.Blocks, inputs: GenerateInputs, best_of: gr.Number,
                    registry: Registry, live: LiveRuns, place: str) -> None:
    """Fill the form in as the page's address says, and let the Link button write it there.

    Args:
        page: the one under construction.
        inputs: what is filled in.
        best_of: the field that is not among them.
        registry: of the generators.
        live: the runs that a page which is loaded again shows, and fills in itself.
        place: of Generate's.
    """
    controls = inputs.controls
    asked = gr.Textbox(visible="hidden")
    page.load(None, None, asked, js=ASKED_JS, api_visibility="private")

    def fill(request: gr.Request, said: Any) -> Updates:
        try:
            query, window, fresh = read_json(said)
        except (TypeError, ValueError, RecursionError):
            return gr.skip()
        if not isinstance(query, str) or (
                fresh is not True and live.of_window(visitor_of(request), place, str(window))):
            return gr.skip()
        found = read_address(query, registry)
        return {inputs.note: kept_note(found.note()), **_updates(found, inputs, best_of)}

    boxes = [component for group in controls for component in (group.chosen, group.num_images)]
    asked.change(fill, asked, [inputs.note, inputs.seed, best_of, inputs.options.html,
                               inputs.options.text, *boxes], **LIVE)
    pressed = gr.Textbox(visible="hidden", elem_id=PRESS)
    usual = [[group.pipeline.name, group.pipeline.default_num_images, group.chosen.value]
             for group in controls]
    pressed.change(None, [pressed, inputs.seed, best_of, inputs.options.text, *boxes], None,
                   js=LINK_JS.replace("GENERATORS", json.dumps(usual)), api_visibility="private")


def _updates(found: Linked, inputs: GenerateInputs, best_of: gr.Number) -> Updates:
    updates: Updates = {}
    if found.seed is not None:
        updates[inputs.seed] = str(found.seed)
    if found.best_of is not None:
        updates[best_of] = found.best_of
    if found.options:
        updates |= inputs.options.updates({group.pipeline.name: found.options.get(
            group.pipeline.name, {}) for group in inputs.controls})
    if found.counts:
        for group in inputs.controls:
            updates |= _boxes(group, found.counts)
    return updates


def _boxes(group: PipelineControls, counts: dict[str, int | None]) -> Updates:
    name = group.pipeline.name
    number = counts.get(name) or group.pipeline.default_num_images
    return {group.chosen: name in counts, group.num_images: number}
