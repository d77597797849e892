"""The files of the embedded models' text tokenizer."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from pipelines.models.tokenizer import Vocabulary

TOKENIZER_DIR = Path(__file__).resolve().parents[3] / "assets" / "tokenizer"
PIECES, WORDS = "tokenizer.json", "words.txt"


def load_vocabulary(folder: Path = TOKENIZER_DIR) -> Vocabulary:
    """Read the word pieces and the words of the captions from a folder.

    Raises:
        FileNotFoundError: one of the files is not there.
    """
    for name in (PIECES, WORDS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the tokenizer has no {name}")
    words = (folder / WORDS).read_text(encoding="utf-8").split()
    return Vocabulary(Tokenizer.from_file(str(folder / PIECES)), frozenset(words))


def save_vocabulary(vocabulary: Vocabulary, folder: Path) -> None:
    """Write them into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.tokenizer.save(str(folder / PIECES))
    (folder / WORDS).write_text("\n".join(sorted(vocabulary.words)) + "\n", encoding="utf-8")
