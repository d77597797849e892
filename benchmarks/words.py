"""Which words a prompt's reading takes for near ones, against labels by hand in ``words.toml``.

A suggestion is right where it is one that the label names. Precision: of the suggestions, those
that are right; recall: of the words with a label, those whose suggestion is right.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.markdown import share, table
from pipelines.prompt_words import PromptReader

WORDS_PATH = Path(__file__).with_name("words.toml")
THRESHOLDS = tuple(round(0.4 + 0.02 * n, 2) for n in range(16))


@cache
def labelled() -> Mapping[str, Any]:
    """The labels."""
    return tomllib.loads(WORDS_PATH.read_text(encoding="utf-8"))


def scores(reader: PromptReader, threshold: float) -> dict[str, float]:
    """Precision, recall, and their harmonic mean at a threshold.

    Args:
        reader: with an encoder.
        threshold: cosine from which a word is near.
    """
    suggested = right = 0
    labels = labelled()
    wanted = {**labels["near"], **{word: [] for word in labels["far"]["words"]}}
    for word, names in wanted.items():
        reader.near = threshold
        found = reader.name_of(word)
        if found is not None:
            suggested += 1
            right += found in names
    precision, recall = right / max(1, suggested), right / len(labels["near"])
    return {"precision": precision, "recall": recall,
            "f1": 2 * precision * recall / max(1e-9, precision + recall)}


def language_errors(reader: PromptReader) -> dict[str, list[str]]:
    """Prompts whose language was taken for another: foreign ones that were read, own ones not."""
    labels = labelled()
    return {"foreign_read": [p for p in labels["foreign"]["prompts"] if not reader.read(p).foreign],
            "own_not_read": [p for p in labels["own"]["prompts"] if reader.read(p).foreign]}


def word_figures(reader: PromptReader) -> dict[str, Any]:
    """What ``words.json`` holds."""
    labels, chosen = labelled(), reader.near
    by_threshold = {str(each): scores(reader, each) for each in THRESHOLDS}
    reader.near = chosen
    return {"near": len(labels["near"]), "far": len(labels["far"]["words"]),
            "threshold": chosen, "chosen": scores(reader, chosen),
            "by_threshold": by_threshold,
            "prompts": len(labels["foreign"]["prompts"]) + len(labels["own"]["prompts"]),
            **language_errors(reader)}


def words_table(results: Mapping[str, Any]) -> str:
    """Precision and recall by the threshold, as Markdown, and the languages in a sentence."""
    wrong = len(results["foreign_read"]) + len(results["own_not_read"])
    rows = [[f"**{at}**" if float(at) == results["threshold"] else at, share(found["precision"]),
             share(found["recall"]), share(found["f1"])]
            for at, found in results["by_threshold"].items()]
    return table([f"cosine from which a word is near, {results['near']} near and {results['far']} "
                  "far ones", "precision", "recall", "F1"], rows) + (
        f"\n\nOf {results['prompts']} prompts the language of {wrong} was taken for another.")
