"""Pictures of other tools: what they say is read, however it is linked, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.history.comfyui import read_graph, read_workflow
from easel.history.comfyui_texts import MAX_TEXT_CHARS, target
from easel.history.invokeai import read_dream, split_brackets
from easel.history.recall import Recalled, recall
from tests.test_history_recall import png, with_comment

CASES = Path(__file__).parent / "data" / "cases"
COMFY = ("sd15.safetensors", "20")


@pytest.mark.parametrize(("name", "prompt", "negative", "seed", "other"), [
    ("surrogate.png", "a  cat", "", 5, {}),
    ("1-invoke.png", "a red apple", "ugly", 2507332253, {"Steps": "25", "CFG scale": "7.5"}),
    ("2-a1111-64bit-seed.png", "a red apple", "", None, {"Seed": "18446744073709551615"}),
    ("3-comfy-linked-prompt.png", "a red apple, on a table", "ugly", None,
     {"Seed": "156680208700286"}),
    ("a1111.png", "a red apple", "", 1234, {"CFG scale": "7.5", "Steps": "20"}),
    ("negative-only.png", "", "ugly", 1234, {}),
    ("template.png", "a red apple", "ugly", 1234, {"Template": "a {red|blue} apple"}),
    ("template-multiline.png", "a red apple", "ugly", 1234, {"Steps": "20"}),
    ("concat.png", "a red apple, on a table", "ugly", None, {"Steps": "20"}),
    ("efficient.png", "a red apple eff", "ugly", 77, {"Model": "a.safetensors"}),
    ("switch.png", "second text", "ugly", None, {}),
    ("showtext.png", "shown apple", "ugly", None, {}),
    ("primitives.png", "a red apple", "ugly", 4242, {"Steps": "33"}),
    ("subgraph-workflow.png", "a red apple", "ugly", 1566, {"Model": "sd15.safetensors"}),
    ("utf8-text.png", "a réd 🍎 äpple 日本", "", 1234, {}),
    ("invoke2.png", "a red apple", "ugly, blurry", 4241, {"Steps": "50"}),
    ("dream-only.png", "a red apple", "ugly", 4241, {"CFG scale": "7.5", "Sampler": "k_lms"}),
])
def test_pictures_that_were_misread(name: str, prompt: str, negative: str, seed: int | None,
                                    other: dict[str, str]) -> None:
    found = recall((CASES / name).read_bytes())
    assert (found.prompt, found.negative_prompt, found.seed) == (prompt, negative, seed)
    assert found.options == {}
    assert other.items() <= dict(found.other).items()


def drawn(positive: Any, **nodes: Any) -> Any:
    """What ComfyUI's sampler is told: a text, or a link to one of the nodes."""
    graph = {"k": {"class_type": "KSampler", "inputs": {
        "seed": 3, "positive": ["t", 0], "negative": ["n", 0]}},
        "t": {"class_type": "CLIPTextEncode", "inputs": {"text": positive}},
        "n": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly"}},
        **{name: {"class_type": "Any", "inputs": inputs} for name, inputs in nodes.items()}}
    found = read_graph(graph)
    assert found is not None
    assert found.negative == "ugly"
    return found.positive


@pytest.mark.parametrize(("nodes", "prompt"), [
    ({"a": {"text1": "one", "text2": ["b", 0], "separator": " and "}, "b": {"value": "two"}},
     "one and two"),
    ({"a": {"text_c": "three", "text_a": "one", "delimiter": "\\n", "text_b": ""}}, "one\nthree"),
    ({"a": {"input10": "ten", "input2": "two"}}, "two, ten"),
    ({"a": {"string": "a red dog", "find": "red", "replace": ["b", 0]}, "b": {"string": "blue"}},
     "a blue dog"),
    ({"a": {"boolean": False, "on_true": "yes", "on_false": ["b", 0]}, "b": {"text": "no"}}, "no"),
    ({"a": {"switch": ["b", 0], "on_true": "yes", "on_false": "no"}, "b": {"value": True}}, "yes"),
    ({"a": {"index": 0, "value0": "first", "value1": "second"}}, "first"),
    ({"a": {"select": ["b", 0], "text_1": "one", "text_2": "two"}, "b": {"value": 2}}, "two"),
    ({"a": {"select": 9, "input1": "one", "input2": "two"}}, "one, two"),
    ({"a": {"anything": ["b", 0], "model": ["c", 0]}, "b": {"": ["c", 0]},
      "c": {"wildcard_text": "a __x__", "populated_text": "a cat", "seed": 1}}, "a cat"),
    ({"a": {"text": ["b", 0], "text_0": ""}, "b": {"prompt": "linked"}}, "linked"),
    ({"a": {"text": ["a", 0]}}, ""),
    ({"a": {"anything": ["nowhere", 0]}}, ""),
])
def test_texts_are_found_at_the_ends_of_links(nodes: dict[str, Any], prompt: str) -> None:
    assert drawn(["a", 0], **nodes) == prompt


def test_texts_that_double_at_each_node_stay_short() -> None:
    nodes = {f"a{level}": {"text1": [f"a{level + 1}", 0], "text2": [f"a{level + 1}", 0],
                           "find": "x", "replace": "x" * 999} for level in range(50)}
    said = drawn(["a0", 0], **nodes, a50={"text": "x" * 1000})
    assert 0 < len(said) <= MAX_TEXT_CHARS


def test_a_pipe_of_both_prompts_and_a_loader_without_a_sampler() -> None:
    pipe = {"p": {"class_type": "Context", "inputs": {"positive": ["t", 0], "negative": ["n", 0]}},
            "k": {"class_type": "KSampler", "inputs": {
                "seed": ["s", 3], "steps": ["i", 0], "positive": ["p", 4], "negative": ["p", 5]}},
            "s": {"class_type": "Seed Everywhere", "inputs": {"seed": 8}},
            "i": {"class_type": "Int", "inputs": {"Number": 12}},
            "t": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red apple"}},
            "n": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly"}}}
    found = read_graph(pipe)
    assert found is not None
    assert (found.positive, found.negative, found.settings) == (
        "a red apple", "ugly", {"seed": 8, "steps": 12})
    loader = read_graph({"1": {"class_type": "easy fullLoader", "inputs": {
        "ckpt_name": "x", "positive": "a cat", "negative": "ugly"}}})
    assert loader is not None
    assert (loader.positive, loader.negative, loader.settings) == ("a cat", "ugly", {"model": "x"})


def test_layouts_with_subgraphs_in_subgraphs_and_links_by_name() -> None:
    def link(key: int, start: int, end: int, slot: int = 0) -> dict[str, Any]:
        return {"id": key, "origin_id": start, "origin_slot": 0, "target_id": end,
                "target_slot": slot}

    inner = {"id": "inner", "nodes": [
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["unused"],
         "inputs": [{"name": "text", "link": 1}]}], "links": [link(1, -10, 6), link(2, 6, -20)]}
    outer = {"id": "outer", "nodes": [
        {"id": 1, "type": "inner", "inputs": [{"name": "text", "link": 3}]},
        {"id": 2, "type": "KSampler", "widgets_values": [7, "fixed", 9],
         "inputs": [{"name": "positive", "link": 4}, {"name": "negative", "link": None}]},
        {"id": 3, "type": "KSampler", "mode": 2, "widgets_values": [99]}],
        "links": [link(3, -10, 1), link(4, 1, 2), link(5, 2, -20)]}
    top = {"nodes": [
        {"id": 1, "type": "PrimitiveString", "widgets_values": ["a red apple"]},
        {"id": 2, "type": "SetNode", "widgets_values": ["said"],
         "inputs": [{"name": "*", "link": 1}]},
        {"id": 3, "type": "GetNode", "widgets_values": ["said"]},
        {"id": 4, "type": "outer", "inputs": [{"name": "text", "link": 2}]},
        {"id": 5, "type": "SaveImage", "inputs": [{"name": "images", "link": 3}]}],
        "links": [[1, 1, 0, 2, 0, "STRING"], [2, 3, 0, 4, 0, "STRING"], [3, 4, 0, 5, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inner, outer]}}
    found = read_workflow(top)
    assert found is not None
    assert (found.positive, found.settings) == ("a red apple", {"seed": 7, "steps": 9})
    top["nodes"][3] = {"id": 4, "type": "outer", "widgets_values": ["typed outside"],
                       "inputs": [{"name": "text", "link": None, "widget": {"name": "text"}}]}
    again = read_workflow(top)
    assert again is not None
    assert again.positive == "typed outside"


def test_a_subgraph_that_holds_itself_ends() -> None:
    own = {"id": "own", "nodes": [{"id": n, "type": "own"} for n in range(30)], "links": []}
    assert read_workflow({"nodes": [{"id": 1, "type": "own"}], "links": [],
                          "definitions": {"subgraphs": [own]}}) is None


@pytest.mark.parametrize("comment", [
    b"UNICODE\0" + "a réd 🍎\nSteps: 5, Seed: 7".encode(),
    b"UNICODE\0" + "a réd 🍎\nSteps: 5, Seed: 7".encode("utf-16-le"),
    b"UNICODE\0\xff\xfe" + "a réd 🍎\nSteps: 5, Seed: 7".encode("utf-16-le"),
    b"ASCII\0\0\0" + "a réd 🍎\nSteps: 5, Seed: 7".encode(),
    "a réd 🍎\nSteps: 5, Seed: 7".encode()], ids=range(5))
def test_comments_in_any_encoding(comment: bytes) -> None:
    found = recall(with_comment("JPEG", comment))
    assert (found.prompt, found.seed) == ("a réd 🍎", 7)
    latin = with_comment("JPEG", b"ASCII\0\0\0" + "caf\xe9\nSteps: 5, Seed: 7".encode("latin-1"))
    assert recall(latin).prompt == "café"


@pytest.mark.parametrize(("seed", "expected", "told"), [
    (2**32 - 1, 2**32 - 1, None), (2**32, None, str(2**32)), (-1, None, "-1"), ("7", 7, None),
    (5.0, 5, None), (5.5, None, "5.5"), (True, None, "True"), ("many", None, "many"),
    (None, None, None), (10**900, None, "1" + "0" * 79)])
def test_a_seed_is_taken_or_told(seed: Any, expected: int | None, told: str | None) -> None:
    facts = json.dumps({"prompt": "x", "positive_prompt": "x", "seed": seed})
    for text in (facts, facts.replace("0" * 900, "0" * 9000)):
        for name in ("invokeai_metadata", "easel"):
            found = recall(png(**{name: text}))
            assert (found.seed, dict(found.other).get("Seed")) == (expected, told)


def test_options_that_no_answer_can_carry_are_told() -> None:
    facts = {"prompt": "x", "num_images": 10**30, "options": {
        "large": 10**30, "deep": [[1]], "nan": float("nan"), "good": 1.5, "a\ud800b": "c\ud800"}}
    found = recall(png(easel=json.dumps(facts)))
    assert found.options == {"good": 1.5, "ab": "c"}
    assert dict(found.other) == {"large": str(10**30), "deep": "[[1]]", "nan": "nan"}
    assert found.num_images is None
    json.dumps({"options": found.options, "other": found.other}, allow_nan=False).encode()


@pytest.mark.parametrize(("text", "positive", "negative"), [
    ("a [b] c [d]", "a c", "b, d"), ("[b]", "", "b"), ("a [", "a [", ""),
    ("a ] b [c", "a ] b [c", ""),
    ("a [[b] c", "a c", "[b"), ("a []", "a", "")])
def test_brackets(text: str, positive: str, negative: str) -> None:
    assert split_brackets(text) == (positive, negative)


@given(st.text(st.sampled_from('ab[]" -sSWC1.'), max_size=60))
def test_no_command_breaks_the_reader(text: str) -> None:
    found = read_dream(text)
    assert found is None or isinstance(found.positive, str)
    assert isinstance(recall(png(Dream=f'"{text}"')), Recalled)


def test_a_node_is_named_by_a_text_or_a_number() -> None:
    """Lists that lie as deep in each other as JSON may have them cannot even be printed."""
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert [target(link) for link in (["4", 0], [4, 0], [deep, 0], [{}, 0], "4", ["4"])] == [
        "4", "4", "", "", "", ""]
