"""The text tokenizer of DALL·E mini and mega: BART's byte pairs without the bytes.

Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units"
(2016), section 3.2; the format is that of the repository kuprel/min-dalle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import emoji

WORD_START = "Ġ"  # stands for the space before a word
CACHED_WORDS = 4096


class MinDalleTokenizer:
    """Text to ids.

    Args:
        vocabulary: ids by subword; holds ``<s>``, ``</s>`` and ``<unk>``.
        merges: pairs of subwords that make a longer one, the most frequent first.

    Raises:
        ValueError: the vocabulary lacks a special token.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        self._ids = dict(vocabulary)
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        try:
            self.start_id, self.end_id, self.unknown_id = (
                self._ids[token] for token in ("<s>", "</s>", "<unk>"))
        except KeyError as error:
            raise ValueError(f"the vocabulary has no {error}") from None
        self._word_ids = lru_cache(CACHED_WORDS)(self._encode_word)

    @property
    def largest_id(self) -> int:
        """The largest id that a text can get."""
        return max(self._ids.values())

    def encode(self, text: str) -> list[int]:
        """Ids of a text of any length, with ``<s>`` before and ``</s>`` behind.

        Emoji are read as their names, other characters beyond ASCII are left out.
        """
        plain = emoji.demojize(text, delimiters=("", "")).lower()
        plain = plain.encode("ascii", errors="ignore").decode()
        ids = [i for word in plain.split(" ") if word for i in self._word_ids(word)]
        return [self.start_id, *ids, self.end_id]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        """Join the pair of the lowest rank, the first one of equals, until none can be joined."""
        parts = [WORD_START, *word]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, math.inf) for pair in pairwise(parts)]
            best = min(ranks)
            if best == math.inf:
                break
            at = ranks.index(best)
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self._ids.get(part, self.unknown_id) for part in parts)
