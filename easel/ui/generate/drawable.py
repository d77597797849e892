"""What the embedded models can draw: every thing, place, colour, medium and relation, to click."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

import gradio as gr

from easel.ui.generate.surprises import KNOWN_MEDIA, KNOWN_RELATIONS
from easel.ui.parts.theme import LIVE, PLAIN
from easel.words import strings
from easel.words.language import PORTUGUESE, current, say
from pipelines.world.concepts import Concept, load_concepts
from pipelines.world.grammar import load_grammar, settle_articles
from pipelines.world.noun_phrases import inflect
from pipelines.world.scenes import COLOURS, PLACES
from pipelines.world.thumbnails import COLUMNS, SHEET, SIDE_PX

COUNTS = ("2", "3", "4", "5")


def build_drawable(owner: gr.HTML) -> None:
    """Lay the fold out; it is filled once it is opened, in the language of who opens it.

    Args:
        owner: component that serves the sheet of thumbnails.
    """
    url = ""
    if (sheet := owner.move_resource_to_block_cache(SHEET)) is not None:
        owner.keep_in_cache.add(sheet)
        url = "gradio_api/file=" + quote(str(sheet))
    with gr.Accordion(strings.DRAWABLE, open=False, elem_id="drawable") as fold:
        shown = gr.HTML("", elem_id="drawable-words", **PLAIN)
    fold.expand(lambda: render_drawable(url), None, shown, **LIVE)


def render_drawable_line() -> str:
    """The line under the title, whose button opens the fold (page.js)."""
    counts = (len(load_concepts()), len(PLACES), len(COLOURS), len(KNOWN_MEDIA))
    return (f'<p class="drawable-line">{escape(strings.DRAWABLE_LINE.format(*counts))} '
            f'<button type="button" data-open="drawable">{escape(strings.DRAWABLE_SHOW)}</button>'
            "</p>")


def render_drawable(sheet_url: str) -> str:
    """Everything by group, with a field that searches it.

    Args:
        sheet_url: where a browser finds the sheet of ``pipelines.world.thumbnails``.
    """
    concepts, portuguese = load_concepts(), current() == PORTUGUESE
    words = load_grammar(current())
    parts = [_group(say("Places"), [
        _word(_first(words["places"][place].values), "append") for place in PLACES])]
    parts.append(_group(say("Colours"), [
        _word(_colour(colour, portuguese), "append") for colour in COLOURS]))
    parts.append(_group(say("Counts"), [
        _word(_first(words["numbers"][count].values).partition("|")[0], "append")
        for count in COUNTS]))
    parts.append(_group(strings.DRAWABLE_RELATIONS, [
        _word(_between(words["relations"][relation].values), "append")
        for relation in KNOWN_RELATIONS]))
    parts.append(_group(say("Media"), [
        _word(settle_articles(_first(words["media"][medium].values)), "wrap")
        for medium in KNOWN_MEDIA]))
    numbers = {concept.id: number for number, concept in enumerate(concepts)}
    parts += [_group(strings.DRAWABLE_GROUPS.get(group, group), [
        _thing(concept, numbers[concept.id], portuguese)
        for concept in concepts if concept.group == group])
        for group in dict.fromkeys(concept.group for concept in concepts)]
    label = escape(strings.DRAWABLE_SEARCH)
    return (f'<input type="search" class="drawable-search" aria-label="{label}" '
            f'placeholder="{label}"><div class="drawable-groups" '
            f"style=\"--things:url('{escape(sheet_url)}')\">{''.join(parts)}</div>"
            f'<p class="hint" hidden>{escape(strings.DRAWABLE_NONE)}</p>')


def _group(title: str, buttons: Iterable[str]) -> str:
    return (f'<section class="drawable-group"><h3>{escape(title)}</h3>'
            f"<div>{''.join(buttons)}</div></section>")


def _word(text: str, how: str) -> str:
    shown = text.replace("{s}", "…")
    return (f'<button type="button" class="chip" data-insert="{escape(text)}" data-how="{how}" '
            f'data-words="{escape(shown.lower())}">{escape(shown)}</button>')


def _thing(concept: Concept, number: int, portuguese: bool) -> str:
    said = ("uma " if concept.pt_gender == "f" else "um ") + concept.pt[0] if portuguese \
        else f"{concept.article} {concept.name}"
    row, column = divmod(number, COLUMNS)
    names = " ".join((*concept.names, *concept.pt)).lower()
    place = f"{-column * SIDE_PX}px {-row * SIDE_PX}px"
    return (f'<button type="button" class="thing" data-insert="{escape(said)}" data-how="append" '
            f'data-words="{escape(names)}"><i style="background-position:{place}"></i>'
            f"{escape(concept.pt[0] if portuguese else concept.name)}</button>")


def _first(values: Sequence[str]) -> str:
    return values[0]


def _between(templates: Sequence[str]) -> str:
    """What stands between two things in the first template that says it with them in order."""
    found = next(t for t in templates if t.startswith("{a} ") and t.endswith(" {b}"))
    return found.removeprefix("{a} ").removesuffix(" {b}")


def _colour(colour: str, portuguese: bool) -> str:
    if not portuguese:
        return colour
    return inflect(_first(load_grammar(PORTUGUESE)["colours"][colour].values), "m", False)
