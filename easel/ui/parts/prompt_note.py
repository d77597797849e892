"""What a prompt's words are to the embedded models, said under whatever field it is typed in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from html import escape

import numpy as np

from easel.ui.words import strings
from easel.ui.words.language import say
from pipelines.core.errors import EaselError
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.models.tokenizer import Vocabulary, split_words
from pipelines.prompt_words import PromptReader, Reading, Thing, WordRead
from pipelines.world.concepts import load_concepts
from pipelines.world.grammar import grammar_strings, raw_grammar

ENCODER = "embedded/minilm"
TEXTS_AT_ONCE = 64
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


def render_reading(reading: Reading) -> str:
    """The lines under a prompt: what is not known, and what to write instead, to click.

    Empty where there is nothing to say. A click on a chip puts its prompt into the field that the
    lines belong to (page.js).
    """
    if reading.foreign:
        return _note(say(strings.WORDS_FOREIGN))
    parts = []
    changed = reading.of_kind("near", "misspelt")
    if changed:
        pairs = [_pair(word) for word in changed[:MAX_SAID]]
        parts.append(f"<span>{escape(say(strings.WORDS_NEAR))} {'; '.join(pairs)}.</span>")
        parts.append(f'<button type="button" class="chip" data-prompt="'
                     f'{escape(reading.rewritten or "")}">{escape(reading.rewritten or "")}'
                     "</button>")
    if unknown := reading.of_kind("unknown"):
        words = ", ".join(f"<mark>{escape(word.text)}</mark>" for word in unknown[:MAX_SAID])
        more = len(unknown) - MAX_SAID
        words += f" {escape(say(strings.LAB_MORE).format(more))}" if more > 0 else ""
        parts.append(f"<span>{say(strings.WORDS_UNKNOWN).format(words)}</span>")
    if reading.truncated:
        parts.append(f"<span>{escape(say(strings.PROMPT_CUT))}</span>")
    return _note(" ".join(parts), plain=False) if parts else ""


def _pair(word: WordRead) -> str:
    return f"<mark>{escape(word.text)}</mark> → {escape(word.instead or '')}"


def _note(said: str, plain: bool = True) -> str:
    return f'<p class="vocabulary">{escape(said) if plain else said}</p>'
