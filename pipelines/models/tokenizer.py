"""The text tokenizer of the embedded models, and which words they have never seen."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import LongTensor

CONTEXT_LENGTH = 32
PAD_ID, START_ID, END_ID, UNK_ID = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<start>", "<end>", "<unk>")
# Letters, with apostrophes and hyphens inside; a run with a digit in it is a number ("3d", "4k").
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def split_words(text: str) -> list[str]:
    """The words of a text, lower-cased, accents kept, without punctuation and numbers."""
    words = (word.lower().replace("’", "'") for word in _WORD.findall(text))
    return [word for word in words if not any(letter.isdigit() for letter in word)]


class Vocabulary:
    """Word pieces of the captions that the embedded models were trained on.

    Called with texts it is a tokenizer in open_clip's sense. It can be pickled.

    Args:
        tokenizer: Word-piece tokenizer whose first four ids are ``SPECIAL_TOKENS``.
        words: Every word that training captions contain, lower-cased.

    Raises:
        ValueError: The special tokens have other ids.
    """

    def __init__(self, tokenizer: Tokenizer, words: frozenset[str]) -> None:
        ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
        if ids != [PAD_ID, START_ID, END_ID, UNK_ID]:
            raise ValueError(f"the special tokens have ids {ids}, not 0 to 3")
        self.tokenizer = tokenizer
        self.words = words

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, any length, without ``<start>`` and ``<end>``."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The lower-case text of token ids; special tokens are left out."""
        return self.tokenizer.decode(list(ids))

    def __call__(
        self, texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH
    ) -> LongTensor:
        """Token ids as the models take them.

        Args:
            texts: One text or N of them.
            context_length: Length of every row, at least 2.

        Returns:
            int64 (N, context_length): ``<start> ids <end> <pad> ...``; a longer text loses its
            last ids, never ``<end>``.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows = torch.full((len(texts), context_length), PAD_ID, dtype=torch.long)
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for row, encoding in zip(rows, encodings, strict=True):
            ids = [START_ID, *encoding.ids[: context_length - 2], END_ID]
            row[: len(ids)] = torch.tensor(ids)
        return rows  # type: ignore[return-value]

    def unknown_words(self, text: str) -> list[str]:
        """Words that no training caption contained, in order, each once, lower-cased.

        A hyphenated word is known if all its parts are. Numbers and punctuation are never unknown.
        """
        unknown: dict[str, None] = {}
        for word in split_words(text):
            parts = [part for part in word.split("-") if part]
            if word not in self.words and not self.words.issuperset(parts):
                unknown[word] = None
        return list(unknown)

    def truncated(self, text: str, context_length: int = CONTEXT_LENGTH) -> bool:
        """Whether the models see only the beginning of the text."""
        return len(self.encode(text)) > context_length - 2
