"""Builds the tokenizer of the embedded models from the words of the world's captions.

    python -m training.build_tokenizer

writes ``assets/tokenizer/tokenizer.json`` and ``words.txt`` within a second. Token ids belong to
trained weights: where there is a tokenizer it keeps its ids, and words new to the captions are
spelt with its pieces, until ``--new-ids`` asks for others.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipelines.models.checkpoints.vocabulary import TOKENIZER_DIR, save_vocabulary
from pipelines.models.tokenizer import SPECIAL_TOKENS, Vocabulary, split_words
from pipelines.world.concepts import load_concepts
from pipelines.world.grammar import grammar_strings, raw_grammar
from pipelines.world.noun_phrases import inflect

# Pieces below the word, for the words that people type and no caption contains.
NUM_PIECES = 500
MAX_VOCAB_SIZE = 3072
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-&()<>_/+#*áàâãéêíóôõúüçñ"


def known_texts() -> Iterator[str]:
    """Texts that together hold every word a caption can contain."""
    for concept in load_concepts():
        yield from (
            *concept.names,
            *concept.plurals,
            *concept.articles,
            *concept.role_names,
            *concept.pt,
            *concept.pt_plurals,
        )
    yield from grammar_strings(raw_grammar())
    yield "a an the some one a pair of um uma jovem"
    words = raw_grammar()["pt"]
    adjectives = [*words["colours"].values(), *words["sizes"].values(), *words["ages"].values(),
                  *words["tones"].values()]
    for adjective in [*(a for options in adjectives for _, a in options), *words["niceties"]]:
        yield " ".join(inflect(adjective, g, plural) for g in "mf" for plural in (False, True))


def whole_words() -> list[str]:
    """Words that become one token: all but regular plurals, which share the singular's token.

    "dogs" is "dog" and "##s", so that what is learnt of one dog holds for two.
    """
    words = {
        part
        for text in known_texts()
        for word in split_words(text)
        for part in re.split("['-]", word)
        if part
    }
    singular = {
        word
        for concept in load_concepts()
        for name in (*concept.names, *concept.pt)
        for word in split_words(name)
    }
    regular = {word + ending for word in words for ending in ("s", "es")}
    return sorted(words & singular | words - regular)


def frequent_pieces(number: int) -> list[str]:
    """The commonest beginnings and insides of words, of 2 to 4 letters, as word pieces."""
    counts: Counter[str] = Counter()
    for word in whole_words():
        for start in range(len(word)):
            for end in range(start + 2, min(start + 4, len(word)) + 1):
                counts[("##" if start else "") + word[start:end]] += end - start
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:number]


def new_tokenizer(vocab: dict[str, int]) -> Tokenizer:
    """A word-piece tokenizer: NFC, lower case, accents kept, punctuation on its own."""
    model = models.WordPiece(vocab, unk_token="<unk>", max_input_chars_per_word=64)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace("’", "'"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def new_ids() -> Tokenizer:
    """A tokenizer with a token for every word of the captions, and pieces for all other words.

    Raises:
        ValueError: The vocabulary would exceed ``MAX_VOCAB_SIZE``.
    """
    letters = [letter for letter in ALPHABET if letter.isalnum()]
    tokens = dict.fromkeys(
        [
            *SPECIAL_TOKENS,
            *ALPHABET,
            *("##" + letter for letter in letters),
            "##s",
            "##es",
            *whole_words(),
            *frequent_pieces(NUM_PIECES),
        ]
    )
    if len(tokens) > MAX_VOCAB_SIZE:
        raise ValueError(f"{len(tokens)} tokens are more than {MAX_VOCAB_SIZE}")
    return new_tokenizer({token: i for i, token in enumerate(tokens)})


def build(tokenizer: Tokenizer | None = None) -> Vocabulary:
    """The words of the captions with a tokenizer: the one given, or one with new ids."""
    words = frozenset(word for text in known_texts() for word in split_words(text))
    return Vocabulary(tokenizer or new_ids(), words)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TOKENIZER_DIR)
    parser.add_argument(
        "--new-ids", action="store_true", help="number the tokens anew; every model must follow"
    )
    options = parser.parse_args()
    path = options.out / "tokenizer.json"
    keep = path.is_file() and not options.new_ids
    vocabulary = build(Tokenizer.from_file(str(path)) if keep else None)
    save_vocabulary(vocabulary, options.out)
    print(f"{vocabulary.vocab_size} tokens, {len(vocabulary.words)} words")


if __name__ == "__main__":
    main()
