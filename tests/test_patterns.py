"""Patterns meet strangers' texts: none may take more than a time in proportion to their length.

``re`` holds Python's lock while it looks: a pattern that goes back and forth stops the server for
everybody, the device's thread too.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest

from easel.compare.sweeps import expand_matrix, parse_axis
from easel.history.comfyui import read_graph
from easel.words.language import PORTUGUESE, load_catalogue
from pipelines.core.errors import EaselError
from pipelines.core.files import safe_stem
from pipelines.core.infotext import parse_parameters
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.weighted_prompts import parse_prompts, ranking_texts
from tests.page_texts import PACKAGES, ROOT
from tests.watched_sketch import WatchedSketch

# Seconds of this thread alone, so that a busy machine decides nothing. 10 KB in a time in
# proportion take some milliseconds; in that of their square, seconds; of their cube, hours, which
# the shorter texts before them save this test from.
LENGTHS = ((400, 0.02), (10_000, 0.05))
SEEDS = [" ", "a", "1", ".", ",", ":", '"', "'", "\\", "-", "_", "(", "{", "|", "/", "\n", "é",
         "a ", "1.", "1..", ", ", ": ", ' "', "a:", "a-", "a:1", ':"', '\\"', "{a|", "{|}", "__a",
         "a_", "a: ", "a of ", ':"a', "1 : ", " .. ", "Steps: 1, ", "Picture ",
         "\xff", "\xff\0"]
ENDS = ["", "x", " x", "\n", '"', "}", ":", " x y", "/9", ".bias"]
BEGINNINGS = ["", "x", "a: ", '"', "1", "layers.0."]
METHODS = ("fullmatch", "match", "search", "findall", "finditer", "sub", "split")


def texts(length: int) -> Iterator[str]:
    """Runs of what patterns repeat, between what makes them start and what makes them fail."""
    for seed in SEEDS:
        body = seed * (length // len(seed))
        yield from (body + end for end in ENDS)
        yield from (beginning + body + "x" for beginning in BEGINNINGS)


def _taken_s(work: Callable[[str], object], text: str) -> float:
    """Seconds of the processor that a piece of work takes over a text."""
    start = time.thread_time()
    with suppress(EaselError):
        work(text)
    return time.thread_time() - start


def slowest(work: Callable[[str], object]) -> str | None:
    """The first text that a piece of work takes too long over; None where there is none."""
    for length, most_s in LENGTHS:
        for text in texts(length):
            # Several tries: a collection of garbage may fall into one of them.
            if all(_taken_s(work, text) > most_s for _ in range(4)):
                return f"{text[:12]!r} … {text[-12:]!r}, {length} characters"
    return None


@cache
def patterns() -> dict[str, Callable[[str], Any]]:
    """Every use of a pattern in the code, by where it stands."""
    found: dict[str, Callable[[str], Any]] = {}
    for folder in PACKAGES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name in ("__main__.py", "env.py"):
                continue
            if path.parent.name == "ray":  # which is told its address before it is imported
                assert "import re\n" not in path.read_text("utf-8"), "a pattern that is not tried"
                continue
            where = path.relative_to(ROOT).as_posix()
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                        and isinstance(node.func.value, ast.Name) and node.func.attr in METHODS):
                    continue
                name, pattern = node.func.value.id, None
                first = node.args[0] if node.args else None
                if name == "re" and isinstance(first, ast.Constant) \
                        and isinstance(first.value, str):
                    pattern = re.compile(first.value)
                elif isinstance(named := getattr(module, name, None), re.Pattern):
                    pattern = named
                if pattern is not None:
                    found[f"{where}:{node.lineno} {node.func.attr}"] = _use(pattern,
                                                                            node.func.attr)
    return found


def _use(pattern: re.Pattern[Any], method: str) -> Callable[[str], Any]:
    if isinstance(pattern.pattern, bytes):  # of a file: each sign is a byte
        return lambda text: getattr(pattern, method)(text.encode("latin-1"))
    if method == "sub":
        return lambda text: pattern.sub("", text)
    if method == "finditer":
        return lambda text: list(pattern.finditer(text))
    return getattr(pattern, method)


def test_every_pattern_takes_a_time_in_proportion_to_the_text() -> None:
    assert len(patterns()) > 20
    assert {where: text for where, use in patterns().items()
            if (text := slowest(use)) is not None} == {}


def _axis(text: str) -> object:
    return parse_axis("seed", text, WatchedSketch(), "a cat")


@pytest.mark.parametrize("read", [
    parse_parameters, parse_prompts, ranking_texts, safe_stem, expand_matrix, _axis,
    load_vocabulary().unknown_words, load_catalogue(PORTUGUESE).say,
], ids=lambda read: getattr(read, "__qualname__", ""))
def test_every_reader_of_texts_takes_a_time_in_proportion(read: Callable[[str], object]) -> None:
    assert slowest(read) is None


def test_a_graph_with_many_ends_takes_a_time_in_proportion() -> None:
    """10,000 ends of one chain of 10,000 nodes: looked at from each, they take minutes."""
    graph = {f"{n}": {"class_type": "Pass", "inputs": {"x": [f"{n + 1}", 0]}}
             for n in range(10_000)}
    ends = {f"end {n}": {"class_type": "SaveImage", "inputs": {"images": ["0", 0]}}
            for n in range(10_000)}
    start = time.thread_time()
    assert read_graph(graph | ends) is None
    assert time.thread_time() - start < 10
