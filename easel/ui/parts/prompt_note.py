"""What a prompt's words are to the embedded models, said under whatever field it is typed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from easel.compare.sweeps import WILDCARD, is_template
from easel.compare.wildcards import suggestions
from easel.ui.parts.theme import LIVE, PLAIN
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError
from pipelines.core.request import MAX_PROMPT_CHARS
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.models.tokenizer import Vocabulary, split_words
from pipelines.prompt_words import PromptReader, Reading, Thing, WordRead
from pipelines.suited import BY_PICTURES, OF_THE_WORLD
from pipelines.world.compositions import read_composition
from pipelines.world.concepts import load_concepts
from pipelines.world.grammar import grammar_strings, raw_grammar
from pipelines.world.lost_media import without_lost_medium

ENCODER = "embedded/minilm"
TEXTS_AT_ONCE = 64
# What lies over the page is there for as long as its field is typed in. "active", since not every
# browser gives the focus to a button that is pressed.
HIDDEN_UNLESS_TYPED_IN = (
    ".gradio-container:not(:has(:is(#FIELD, [data-for=FIELD]) :is(:focus, :active))) "
    "[data-for=FIELD] .suggestions { display: none; }")
MAX_SAID = 6  # words of each kind; more of them are counted


def prompt_reader(vocabulary: Vocabulary, models: ModelCache | None) -> PromptReader:
    """Reads prompts with the things of the world.

    Args:
        vocabulary: of the embedded models.
        models: lends the sentence encoder; None for no comparison of meanings.
    """
    things, alone = _world_words()
    if models is None or not isinstance(models.loader, CatalogueLoader):
        return PromptReader(vocabulary, things, alone)
    return PromptReader(vocabulary, things, alone, partial(encode_texts, models),
                        partial(_is_word, models))


def encode_texts(models: ModelCache, texts: Sequence[str]) -> np.ndarray:
    """Unit-length embeddings (N, D) float32 of texts by the sentence encoder.

    Raises:
        EaselError: it cannot be loaded.
    """
    import torch

    with torch.no_grad(), models.lease(ENCODER) as encoder:
        return np.concatenate([encoder(texts[start:start + TEXTS_AT_ONCE]).cpu().numpy()
                               for start in range(0, len(texts), TEXTS_AT_ONCE)])


def _is_word(models: ModelCache, word: str) -> bool:
    """Whether a word is one piece to the sentence encoder, as common English ones are."""
    try:
        with models.lease(ENCODER) as encoder:
            return encoder.tokenizer.token_to_id(word) is not None
    except EaselError:  # then nothing is taken for a mistake
        return True


@cache
def _world_words() -> tuple[tuple[Thing, ...], frozenset[str]]:
    """What the world can draw, and the words that its captions use outside of names."""
    concepts = load_concepts()
    things = tuple(Thing(c.names, c.plurals, (*c.pt, *c.pt_plurals)) for c in concepts)
    said = [*grammar_strings(raw_grammar()), "a an the some one s",
            *(name for c in concepts for name in (*c.articles, *c.role_names))]
    return things, frozenset(word for text in said for word in split_words(text))


def build_note(reader: PromptReader | None, field: gr.Textbox, elem_id: str,
               clip: gr.Dropdown | gr.CheckboxGroup | None = None,
               wildcards: Callable[[gr.Request], Iterable[str]] | None = None) -> gr.HTML:
    """The reading of a field under it, and how its last word may go on; anew as a person types.

    Args:
        reader: None where there is no vocabulary.
        field: with an ``elem_id`` of its own, by which page.js puts in what is clicked.
        elem_id: of the lines.
        clip: where texts are not drawn but judged, what chooses by which CLIP: others than those
            of the world know other words.
        wildcards: names of those that whoever types has; asked for while one is typed. None
            where wildcards and alternatives are not filled in.
    """
    note = gr.HTML("", elem_id=elem_id, elem_classes="prompt-note", **PLAIN)

    def read(request: gr.Request, text: str, chosen: Any = None) -> str:
        asked = [chosen] if isinstance(chosen, str) else list(chosen or ())
        if clip is not None and not OF_THE_WORLD.union((BY_PICTURES,)).intersection(asked):
            return ""
        mine: Iterable[str] | None = None
        if wildcards is not None:
            is_typed = (text or "").rsplit(" ", 1)[-1].startswith("__")
            mine = wildcards(request) if is_typed else ()
        return render_note(reader, text or "", str(field.elem_id), clip is not None, mine)

    inputs = [field] if clip is None else [field, clip]
    for event in (field.change,) if clip is None else (field.change, clip.change):
        event(read, inputs, note, **LIVE)
    return note


def render_note(reader: PromptReader | None, text: str, field: str, judged: bool = False,
                wildcards: Iterable[str] | None = None) -> str:
    """What is said under a field.

    Args:
        reader: None where there is no vocabulary.
        text: what is in the field.
        field: its id on the page.
        judged: whether the text is compared with pictures, and not drawn.
        wildcards: names of those that whoever types has; None where none is filled in.
    """
    if wildcards is None and is_template(text[:MAX_PROMPT_CHARS]):
        return f'<div data-for="{escape(field)}">{_note(strings.WORDS_TEMPLATE)}</div>'
    said = render_completion(text, wildcards)
    if said:  # what is still being typed is no word yet
        text = text.removesuffix(text.split()[-1])
    if reader is not None and text.strip():
        reading = reader.read(text[:MAX_PROMPT_CHARS])
        # Several lines are several texts.
        reading = replace(reading, truncated=reading.truncated and not judged)
        if is_template(text[:MAX_PROMPT_CHARS]):
            reading = _unknown_alone(reading)
        said = render_reading(reading, judged) + said
    if "data-complete" in said:
        said += f"<style>{HIDDEN_UNLESS_TYPED_IN.replace('FIELD', escape(field))}</style>"
    return f'<div data-for="{escape(field)}">{said}</div>' if said else ""


def _unknown_alone(reading: Reading) -> Reading:
    """Of a prompt with wildcards or alternatives the unknown words: names of lists are no words of
    it, and a prompt to write instead would not be the one that is drawn."""
    lists = [(found.start(), found.end()) for found in WILDCARD.finditer(reading.prompt)]
    inside = [any(start <= word.start < end for start, end in lists) for word in reading.words]
    return replace(reading, prompt="", words=tuple(
        word if word.kind == "unknown" and not hidden else replace(word, kind="known", instead=None)
        for word, hidden in zip(reading.words, inside, strict=True)))


def render_completion(text: str, wildcards: Iterable[str] | None = None) -> str:
    """Chips that complete the last word; page.js puts a chosen one in. Empty once it is done."""
    chips = "".join(f'<button type="button" class="chip" data-complete="{escape(word)}">'
                    f"{escape(word)}</button>"
                    for word in suggestions(text[-100:], mine=wildcards))
    return (f'<div class="suggestions" role="group" aria-label="{escape(strings.SUGGESTIONS)}">'
            f"{chips}</div>") if chips else ""


def render_reading(reading: Reading, judged: bool = False) -> str:
    """The lines under a prompt: what is not known, and what to write instead, to click.

    Empty where there is nothing to read. A click on a chip puts its prompt into the field that the
    lines belong to (page.js).

    Args:
        reading: of the prompt.
        judged: whether the text is compared with pictures, and not drawn.
    """
    near, unknown_words = (
        (strings.JUDGED_NEAR, strings.JUDGED_UNKNOWN) if judged
        else (strings.WORDS_NEAR, strings.WORDS_UNKNOWN))
    if reading.foreign:
        return _note(strings.JUDGED_FOREIGN if judged else strings.WORDS_FOREIGN)
    parts = []
    changed, unknown = reading.of_kind("near", "misspelt"), reading.of_kind("unknown")
    rewritten = reading.rewritten or ""
    put_together = None if judged or unknown else read_composition(rewritten or reading.prompt)
    plain = None if judged or put_together else without_lost_medium(rewritten or reading.prompt)
    # One sentence and a prompt to press: the line under a field keeps its height.
    if put_together is not None:
        said = strings.WORDS_WORN if put_together.worn else strings.WORDS_APART
        parts.append(f"<span>{escape(said)}</span>")
        rewritten = without_lost_medium(put_together.rewritten) or put_together.rewritten
    elif plain:
        parts.append(f"<span>{escape(strings.WORDS_MEDIUM)}</span>")
        rewritten = plain
    elif changed:
        pairs = [_pair(word) for word in changed[:MAX_SAID]]
        parts.append(f"<span>{escape(near)} {'; '.join(pairs)}.</span>")
    if rewritten:
        parts.append(f'<button type="button" class="chip" data-prompt="{escape(rewritten)}">'
                     f"{escape(rewritten)}</button>")
    if unknown:
        words = ", ".join(f"<mark>{escape(word.text)}</mark>" for word in unknown[:MAX_SAID])
        more = len(unknown) - MAX_SAID
        words += f" {escape(say(strings.LAB_MORE).format(more))}" if more > 0 else ""
        parts.append(f"<span>{unknown_words.format(words)}</span>")
    if reading.truncated:
        parts.append(f"<span>{escape(say(strings.PROMPT_CUT))}</span>")
    if not parts and reading.words and not judged:
        return _note(strings.WORDS_KNOWN)  # said as well: nothing appears and goes while one types
    return _note(" ".join(parts), plain=False) if parts else ""


def is_doubted(reader: PromptReader | None, prompt: str) -> bool:
    """Whether a line under the prompt says that not all of it is known, or not put together so."""
    if reader is None or not prompt.strip():
        return False
    reading = reader.read(prompt[:MAX_PROMPT_CHARS])
    return (reading.foreign or bool(reading.of_kind("near", "misspelt", "unknown"))
            or read_composition(prompt) is not None)


def _pair(word: WordRead) -> str:
    return f"<mark>{escape(word.text)}</mark> → {escape(word.instead or '–')}"


def _note(said: str, plain: bool = True) -> str:
    return f'<p class="vocabulary">{escape(said) if plain else said}</p>'
