"""Generated inputs for every reader of what strangers write; and what broke one once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.internal.conjecture import providers

from easel.history.recall import recall
from tests.trust.parsers import PARSERS
from tests.trust.publishers import A1111, DREAM, GRAPH, INVOKE, LAYOUT, OWN, SD, png

ENTRY = b"""[[models]]
id = "mine/dream"
title = "Dream"
family = "clip"
licence = "MIT"
source = "my own"
files = []
"""
# What once broke a reader, and how.
FOUND = [
    # What is no link led to a node without a name.
    ("comfyui", b'{"": {"inputs": {}}, "1": {"inputs": {"seed": 5, "positive": ["2", 0]}}, '
                b'"2": {"inputs": {"text_l": 5}}}'),
    ("sweeps", b"9" * 400),  # a number that is infinite had no label
    # Python reads no whole number of so many digits; and a key's parts took their square.
    ("presets", b"[noise.mine.options]\nsteps = " + b"9" * 5000),
    ("presets", b"a." * 130_000 + b"a = 1"),
    # A path ended the start of the server.
    ("catalogue", ENTRY + b'path = "~nobody-of-this-name/x"'),
    ("catalogue", ENTRY + b'path = "a\\u0000b"'),
    ("catalogue", ENTRY + b"x = " + b"9" * 5000),
    ("catalogue", b"x = " + b"[" * 5000),
    # A name was told whole.
    ("catalogue", ENTRY + b"9" * 5000 + b" = 1"),
    # Such names and values were written so that they could not be read.
    ("catalogue", ENTRY + b'path = "a"\nconfig = {"a b" = inf, x = 1979-05-27, y = "\\u007f"}'),
]
# About twenty seconds each on a core of its own for what other tools and publishers write, five for
# the rest, always the same inputs; `python -m tests.trust.fuzz` goes on with others for as long as
# one likes.
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much,
        HealthCheck.large_base_example)
EXAMPLES = {"a1111": 9000, "invokeai": 9000, "comfyui": 8500, "bundles": 11_000,
            "catalogue": 9500, "tensors": 7500, "prompts": 10_000, "sweeps": 11_500,
            "easel": 3400, "pictures": 3000, "presets": 1600, "prompt lists": 3500,
            "word lists": 4000}


@pytest.mark.parametrize("name", PARSERS)
def test_what_publishers_write_is_read(name: str) -> None:
    for data in PARSERS[name].seeds:
        PARSERS[name].read(data)


@pytest.mark.parametrize(("chunk", "data", "tool"), [
    ("parameters", A1111, "A1111"), ("invokeai_metadata", INVOKE, "InvokeAI"),
    ("sd_metadata", SD, "InvokeAI"), ("Dream", DREAM, "InvokeAI"), ("prompt", GRAPH, "ComfyUI"),
    ("workflow", LAYOUT, "ComfyUI"), ("easel", OWN, "Easel")])
def test_the_readers_of_pictures_find_what_is_tried_on_them(chunk: str, data: bytes, tool: str,
                                                            ) -> None:
    """Under another name it would be passed over, and nothing of it ever be tried."""
    assert recall(png(**{chunk: data})).tool == tool


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[name for name, _ in FOUND])
def test_what_broke_a_reader_once_is_read_or_refused(name: str, data: bytes) -> None:
    PARSERS[name].read(data)


@pytest.fixture
def same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ran before: hypothesis tries constants of all modules that are imported by then."""
    monkeypatch.setattr(providers, "_get_local_constants", providers.Constants)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", type(providers.CONSTANTS_CACHE)(1024))


@pytest.mark.usefixtures("same_inputs")
@pytest.mark.parametrize("name", PARSERS)
def test_whatever_is_written_is_read_or_refused(name: str) -> None:
    parser = PARSERS[name]
    same = settings(max_examples=EXAMPLES.get(name, 2000), derandomize=True, database=None,
                    deadline=None, suppress_health_check=SLOW)
    same(given(parser.inputs())(parser.read))()
