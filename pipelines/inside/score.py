"""Why a picture has its CLIP score: what each word of the prompt and each cell of the picture adds.

A word is left out, or a cell and those around it greyed out, one after the other; how far the score
falls is what they were worth. Nothing is known of the network but its score, so that every CLIP can
be asked.

Source: Li, Monroe, Jurafsky, "Understanding Neural Networks through Representation Erasure" (2016),
section 2 (words); Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014),
section 4.2 (a grey square that covers a part of the picture).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.calibration import calibration_of
from pipelines.core.errors import Cancelled
from pipelines.inside.question import checked_prompt
from pipelines.models.cache.cache import ModelCache
from pipelines.models.changed_pictures import embed_changed
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import text_features
from pipelines.models.pixels import to_squares
from pipelines.models.tokenizer import UNK_ID, Vocabulary
from pipelines.rerank import WeightedText, similarities, weighted_scores
from pipelines.suited import OF_THE_WORLD
from pipelines.weighted_prompts import ranking_texts

CELLS = 8  # along a side
AROUND = 1  # cells on each side of one that are covered with it: one alone says next to nothing
GREY = 128
MAX_WORDS = 40  # as many as a CLIP reads
TEXTS_AT_ONCE = 8
FOR, AGAINST = (194, 106, 18), (63, 97, 205)  # of the heat map: what helps, what hurts
MAX_COVER = 0.65  # of the heat map over the picture
_WORD = re.compile(r"[^\W_]+(?:['’-]+[^\W_]+)*")


@dataclass(frozen=True)
class WordWorth:
    """A word of the prompt.

    Attributes:
        text: as it was typed.
        drop: how far the score falls without it, in cosine similarity; below 0 it rises.
        known: whether training captions contain it; None where nobody knows.
    """

    text: str
    drop: float
    known: bool | None


@dataclass(frozen=True)
class Piece:
    """A token of the prompt.

    Attributes:
        text: the piece of a word that it stands for; "##" before one that goes on.
        id: its number in the vocabulary.
        known: whether the tokenizer has one for it.
    """

    text: str
    id: int
    known: bool


@dataclass(frozen=True, eq=False)
class Why:
    """What a score is made of.

    Attributes:
        model_id: id of the CLIP.
        score: as the ranker gives it, cosine similarity in [-1, 1].
        words: those of the prompt in order, the first ``MAX_WORDS``; empty where there is only
            one, without which nothing would be asked.
        cells: (8, 8) float32, how far the score falls when a cell and those around it are grey;
            below 0 it rises.
        tie: two cosines of this CLIP that differ by less say the same; None where nobody measured
            it, as for prompts with weights.
        pieces: tokens of the embedded models' vocabulary; empty for a CLIP that has another.
    """

    model_id: str
    score: float
    words: tuple[WordWorth, ...]
    cells: np.ndarray
    tie: float | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class WhyScore:
    """The question why a picture has its score.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
        prompt: a text, or several with weights, as ``rank`` takes them.
        model_id: id of the CLIP in the catalogue.
    """

    image: np.ndarray
    prompt: str
    model_id: str = RANKER

    def __post_init__(self) -> None:
        """Check the prompt; see ``checked_prompt``."""
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))

    @property
    def models(self) -> tuple[str, ...]:
        """The CLIP."""
        return (self.model_id,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Why:
        """See ``Question.answer`` and ``Why``."""
        vocabulary = load_vocabulary() if self.model_id in OF_THE_WORLD else None
        with models.lease(self.model_id, cancelled=cancelled) as clip:
            texts = ranking_texts(self.prompt)
            [score] = weighted_scores(similarities([self.image], [t for t, _ in texts], clip),
                                      [weight for _, weight in texts]).tolist()
            words = word_worths(self.image, texts, clip, vocabulary, cancelled)
            cells = cell_worths(self.image, texts, clip, cancelled)
        facts = {"options": {"ranker": self.model_id},
                 "weights": models.fingerprints([self.model_id])}
        scale = calibration_of(facts, self.prompt)
        return Why(self.model_id, score, words, cells, None if scale is None else scale.tie,
                   () if vocabulary is None else pieces_of(texts, vocabulary))


def without_words(texts: Sequence[WeightedText]) -> list[tuple[str, list[WeightedText]]]:
    """Each word, and the texts without it: a text that has no other goes whole.

    Empty where nothing would be left, or nothing with a weight.
    """
    found = []
    for place, (text, weight) in enumerate(texts):
        for word in _WORD.finditer(text):
            rest = " ".join((text[:word.start()] + text[word.end():]).split())
            here = [(rest, weight)] if _WORD.search(rest) else []
            left = [*texts[:place], *here, *texts[place + 1:]]
            if any(weight for _, weight in left):
                found.append((word.group(), left))
    return found[:MAX_WORDS]


@torch.no_grad()
def word_worths(image: np.ndarray, texts: Sequence[WeightedText], clip: ClipModel,
                vocabulary: Vocabulary | None = None,
                cancelled: Callable[[], bool] = lambda: False) -> tuple[WordWorth, ...]:
    """What each word of some weighted texts adds to a picture's score; see ``Why.words``.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    changed = without_words(texts)
    asked = list(dict.fromkeys(text for each in (texts, *(left for _, left in changed))
                               for text, _ in each))
    cosines: dict[str, float] = {}
    for start in range(0, len(asked), TEXTS_AT_ONCE):
        if cancelled():
            raise Cancelled
        batch = asked[start:start + TEXTS_AT_ONCE]
        [row] = similarities([image], batch, clip).tolist()
        cosines |= dict(zip(batch, row, strict=True))

    def score(said: Sequence[WeightedText]) -> float:
        row = torch.tensor([[cosines[text] for text, _ in said]])
        return float(weighted_scores(row, [weight for _, weight in said]))

    whole = score(texts)
    return tuple(WordWorth(word, whole - score(left),
                           None if vocabulary is None else not vocabulary.unknown_words(word))
                 for word, left in changed)


@torch.no_grad()
def cell_worths(image: np.ndarray, texts: Sequence[WeightedText], clip: ClipModel,
                cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """What each cell of a picture adds to its score; see ``Why.cells``.

    The picture is looked at as the CLIP sees it, squeezed into a square.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    square = to_squares([image], clip.image_size, "cpu")[0].permute(1, 2, 0)  # (S, S, 3)
    whole = (square * 255).round().to(torch.uint8).numpy()
    edges = np.linspace(0, clip.image_size, CELLS + 1).round().astype(int)
    seen: list[tuple[np.ndarray, tuple[slice, slice]]] = []
    spans = [slice(edges[max(0, cell - AROUND)], edges[min(CELLS, cell + AROUND + 1)])
             for cell in range(CELLS)]
    for rows in spans:
        for columns in spans:
            covered = whole.copy()
            covered[rows, columns] = GREY
            seen.append((covered, (rows, columns)))
    images = torch.from_numpy(embed_changed(clip, whole, seen, cancelled))  # (1 + 64, D)
    cosines = images @ text_features(clip, [text for text, _ in texts]).cpu().float().t()
    scores = weighted_scores(cosines, [weight for _, weight in texts]).numpy()
    return (scores[0] - scores[1:]).reshape(CELLS, CELLS)


def pieces_of(texts: Sequence[WeightedText], vocabulary: Vocabulary) -> tuple[Piece, ...]:
    """The tokens of some texts, in order."""
    encoded = [vocabulary.tokenizer.encode(text, add_special_tokens=False) for text, _ in texts]
    return tuple(Piece(text, number, number != UNK_ID) for each in encoded
                 for text, number in zip(each.tokens, each.ids, strict=True))


def heat_map(image: np.ndarray, cells: np.ndarray, most: float | None = None) -> np.ndarray:
    """A picture under its cells: orange where they help the score, blue where they hurt it.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: (R, C) as of ``Why.cells``.
        most: what covers most, so that several maps can be compared; the largest of the cells where
            it is left out.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows, columns = (-(-np.arange(count + 1) * side // count)  # rounded up
                     for count, side in zip(cells.shape, image.shape, strict=False))
    most = max(float(np.abs(cells).max()) if most is None else most, 1e-9)
    mixed = np.empty_like(image)
    for (row, column), worth in np.ndenumerate(cells):
        # A cell at a time: as floats a large picture would take eight times its memory.
        place = slice(*rows[row:row + 2]), slice(*columns[column:column + 2])
        cover = MAX_COVER * abs(float(worth)) / most
        colour = np.array(FOR if worth > 0 else AGAINST)
        mixed[place] = (image[place] * (1 - cover) + colour * cover).round()
    return mixed
