"""Prompt matrix, wildcards, axes, shared work, and the labelled grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from easel.compare.grid import draw_grid, label_font
from easel.compare.sweeps import (
    MAX_VALUES,
    Axis,
    expand_matrix,
    fill_wildcards,
    parse_axis,
    plan_sweep,
    proposed_values,
    share_work,
    sweep_options,
)
from easel.compare.wildcards import suggestions, wildcard_words
from easel.serving.backend import LocalBackend
from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Result
from pipelines.core.options import parse_options
from pipelines.dalle import DallePipeline
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.registry import Registry, build_registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch

WORDS = {"animal": ("owl", "cat", "dog"), "colour": ("red", "blue")}
SKETCH = WatchedSketch()


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    for pipeline in (SKETCH, WatchedSketch("etching", "Etching"), DallePipeline()):
        made.register(pipeline)
    return made


def base(**fields: Any) -> dict[str, Any]:
    return {"pipeline": "sketch", "prompt": "a {red|blue} car", "seed": 5, **fields}


@pytest.mark.parametrize(("prompt", "prompts"), [
    ("a {red|blue} car", ["a red car", "a blue car"]),
    ("a {red|blue} {car|bus}", ["a red car", "a red bus", "a blue car", "a blue bus"]),
    ("a {|tiny} car", ["a car", "a tiny car"]),
    ("a car", ["a car"]), ("a {red} car", ["a red car"]),
    ("a {red|red} car", ["a red car"]),
    ("a red apple:2 | {a worm|a fly}:-0.5", ["a red apple:2 | a worm:-0.5",
                                             "a red apple:2 | a fly:-0.5"]),
])
def test_braces_stand_for_every_combination(prompt: str, prompts: list[str]) -> None:
    assert expand_matrix(prompt) == prompts


@pytest.mark.parametrize("prompt", ["a {red car", "a red} car", "a {red|{blue|green}} car"])
def test_broken_braces_are_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="brace of the prompt is not closed"):
        expand_matrix(prompt)


def test_a_matrix_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match=r"stands for 1,024 prompts; 36"):
        expand_matrix("{a|b}" * 10)
    with pytest.raises(InvalidRequest, match="36 is the most"):
        expand_matrix("{a|b}" * 60)


def test_an_axis_has_a_limit() -> None:
    with pytest.raises(InvalidRequest, match="more than 12 values, which is the most"):
        parse_axis("seed", "1..400", SKETCH, "a cat")


def test_wildcards_are_drawn_by_the_seed() -> None:
    drawn = [fill_wildcards("a __colour__ __animal__", WORDS, seed) for seed in range(40)]
    assert drawn == [fill_wildcards("a __colour__ __animal__", WORDS, s) for s in range(40)]
    assert {text.split()[2] for text in drawn} == {"owl", "cat", "dog"}
    assert {text.split()[1] for text in drawn} == {"red", "blue"}
    assert "an owl" in {fill_wildcards("a __animal__", WORDS, seed) for seed in range(40)}
    assert fill_wildcards("a cat", WORDS, 1) == "a cat"
    with pytest.raises(InvalidRequest, match=r"no wildcard called __feeling__; there are: __anim"):
        fill_wildcards("a __feeling__", WORDS, 1)


def test_the_worlds_wildcards_are_words_that_the_models_know() -> None:
    words, vocabulary = wildcard_words(), load_vocabulary()
    assert {"colour", "place", "medium", "number", "thing", "animal", "food"} <= set(words)
    unknown = {w for ws in words.values() for w in ws if vocabulary.unknown_words(w)}
    assert unknown == set()


def test_words_and_wildcards_are_completed() -> None:
    assert "__animal__" in suggestions("a red __an")
    assert "elephant" in suggestions("an eleph")
    assert suggestions("a ") == []
    assert suggestions("a x") == []
    assert len(suggestions("a __", 3)) == 3


@pytest.mark.parametrize(("name", "text", "values"), [
    ("seed", "1, 2,7", (1, 2, 7)), ("seed", "5..8", (5, 6, 7, 8)), ("steps", "2..10/3", (2, 6, 10)),
    ("pause_s", "0..1", (0, 0.25, 0.5, 0.75, 1)), ("pause_s", "0.1..0.2/2", (0.1, 0.2)),
    ("blur", "none, soft", ("none", "soft")), ("fail", "false,true", (False, True)),
    ("pipeline", "sketch, etching", ("sketch", "etching")),
    ("prompt", "", ("a red car", "a blue car")), ("", "anything", (None,)),
    ("steps", "3..3", (3,)), ("steps", "3,3", (3,)), ("fail", "On, off", (True, False)),
    ("fail", "sim, não", (True, False)),
])
def test_values_of_an_axis(name: str, text: str, values: tuple[Any, ...]) -> None:
    assert parse_axis(name, text, SKETCH, "a {red|blue} car").values == values


@pytest.mark.parametrize(("text", "values"), [
    ("128..256", (128, 192, 256)), ("256..128", (256, 192, 128)), ("128..300", (128, 192, 256)),
    ("128..256/2", (128, 256)), ("128..320/3", (128, 256, 320)), ("192..192", (192,)),
    ("128..768", tuple(range(128, 769, 64))), ("100..256", (100, 164, 228))])
def test_a_range_goes_by_the_steps_of_its_option(text: str, values: tuple[int, ...]) -> None:
    axis = parse_axis("size_px", text, VQGANCLIPPipeline(), "a car")
    assert axis.values == values
    assert all(type(value) is int for value in axis.values)


def test_switches_are_labelled_as_people_say_them() -> None:
    axis = parse_axis("fail", "yes, no", SKETCH, "a car")
    assert axis.labels() == ["Fail on", "Fail off"]


@pytest.mark.parametrize(("name", "text", "says"), [
    ("size", "1,2", "no option called 'size'"), ("seed", " , ", "has no values"),
    ("seed", "1..1000000000", "more than 12 values"), ("seed", "", "has no values"),
])
def test_wrong_axes_are_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse_axis(name, text, SKETCH, "a car")


def test_a_grid_has_a_request_for_each_cell(registry: Registry) -> None:
    x = parse_axis("prompt", "", SKETCH, base()["prompt"])
    y = parse_axis("steps", "2,4,6", SKETCH, "")
    sweep = plan_sweep(registry, base(options={"blur": "none"}), x, y, {})
    assert len(sweep.requests) == 6
    assert sweep.cell(2, 1).prompt == "a blue car"
    assert sweep.cell(2, 1).options.steps == 6
    assert {request.options.blur for request in sweep.requests} == {"none"}
    assert {request.seed for request in sweep.requests} == {5}
    assert (x.labels(), y.labels()) == (["a red car", "a blue car"],
                                        ["Steps 2", "Steps 4", "Steps 6"])


def test_another_generator_takes_the_options_that_it_has(registry: Registry) -> None:
    x = Axis("pipeline", ("sketch", "dalle"))
    sweep = plan_sweep(registry, base(prompt="a car", options={"steps": 3}), x, Axis(), {})
    assert sweep.requests[0].options.steps == 3
    assert not hasattr(sweep.requests[1].options, "steps")


@pytest.mark.parametrize(("x", "y", "fields", "says"), [
    (Axis("seed", (1, 2)), Axis("seed", (1,)), {}, "Both axes are the same"),
    (Axis("seed", tuple(range(12))), Axis("steps", (1, 2, 3, 4)), {}, "48 cells; 36"),
    (Axis("steps", (1, "many")), Axis(), {}, "Steps must be"),
    (Axis("seed", (-1,)), Axis(), {}, "Seed must be"),
    (Axis("pipeline", ("nobody",)), Axis(), {}, "no generator called"),
    (Axis("seed", (1,)), Axis(), {"prompt": "a __feeling__"}, "no wildcard"),
])
def test_wrong_grids_are_refused(registry: Registry, x: Axis, y: Axis, fields: dict[str, Any],
                                 says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        plan_sweep(registry, base(**fields), x, y, WORDS)


def test_cells_that_follow_one_another_are_one_run(registry: Registry) -> None:
    x, y = Axis("seed", (9, 3, 4, 5, 20)), Axis("steps", (2, 3))
    sweep = plan_sweep(registry, base(prompt="a car"), x, y, {})
    batches = share_work(sweep)
    assert sorted(cell for batch in batches for cell in batch.cells) == list(range(10))
    assert len(batches) == 6
    for batch in batches:
        assert batch.request.num_images == len(batch.cells)
        for offset, cell in enumerate(batch.cells):
            asked = sweep.requests[cell]
            assert asked.seed == (batch.request.seed or 0) + offset
            assert asked.options == batch.request.options
    wild = plan_sweep(registry, base(prompt="a __animal__"), Axis("seed", tuple(range(12))),
                      Axis(), WORDS)
    for batch in share_work(wild):
        assert {wild.requests[cell].prompt for cell in batch.cells} == {batch.request.prompt}


def test_shared_runs_draw_what_each_cell_draws_alone() -> None:
    """Kernels may differ in the last bits from one batch size to another, and in no more."""
    registry = Registry()
    registry.register(DallePipeline())
    backend = LocalBackend(registry, small_cache())
    fields = {"pipeline": "dalle", "prompt": "two cats", "seed": 3}
    sweep = plan_sweep(registry, fields, Axis("seed", (3, 4)), Axis(), {})
    (batch,) = share_work(sweep)
    (shared,) = [e for e in backend.stream(batch.request) if isinstance(e, Result)]
    for offset, request in enumerate(sweep.requests):
        (alone,) = [e for e in backend.stream(request) if isinstance(e, Result)]
        together = next(c for c in shared.candidates if c.index == offset)
        difference = np.abs(together.image.astype(int) - alone.candidates[0].image)
        assert difference.max() <= 2, "the last bits alone"
    backend.close()


def test_the_grid_holds_every_cell_and_its_labels() -> None:
    cells = [np.full((16, 16, 3), value, np.uint8) for value in (10, 60, 110, 160, 210)]
    drawn = draw_grid([*cells, None], ["one", "two", "a very long label " * 9], ["up", "down"],
                      "a title", 64)
    for value in (10, 60, 110, 160, 210):
        assert (drawn == value).all(-1).sum() >= 60 * 60
    plain = draw_grid(cells[:2], ["", ""], [""], "", 64)
    assert plain.shape == (64 + 16, 2 * 64 + 3 * 8, 3)
    assert drawn.shape[0] > 2 * 64 + 40
    with pytest.raises(ValueError, match="5 cells do not fill"):
        draw_grid(cells, ["a", "b"], ["c"], "")


def test_what_may_be_swept() -> None:
    assert list(sweep_options(SKETCH)) == ["seed", "prompt", "pipeline", "steps", "pause_s", "blur",
                                           "fail"]


def test_labels_know_the_letters_of_portuguese() -> None:
    font = label_font(20)
    drawn = set()
    for letter in "çãéêóõúà":
        picture = Image.new("L", (32, 32))
        ImageDraw.Draw(picture).text((4, 2), letter, fill=255, font=font)
        drawn.add(picture.tobytes())
    assert len(drawn) == 8, "letters that a font lacks all look the same"


@pytest.mark.parametrize(("name", "text", "values"), [
    ("seed", "1...4", (1, 2, 3, 4)), ("seed", "1…3", (1, 2, 3)), ("seed", "1..3", (1, 2, 3)),
    ("seed", "5; 7", (5, 7)), ("seed", "0,5", (0, 5))])
def test_axes_are_read_as_people_type_them(name: str, text: str, values: tuple[int, ...]) -> None:
    assert parse_axis(name, text, SKETCH, "a cat").values == values


def test_a_decimal_comma_stands_between_semicolons() -> None:
    assert parse_axis("guidance_scale", "0,5; 2,5", DallePipeline(), "a cat").values == (0.5, 2.5)
    assert parse_axis("guidance_scale", "1,2", DallePipeline(), "a cat").values == (1.0, 2.0)


def test_a_number_without_bounds_has_a_label_all_the_same() -> None:
    """Whoever runs the grid refuses it, by the option's name."""
    axis = parse_axis("pause_s", "1e400, 0.5", WatchedSketch(), "a cat")
    assert axis.labels() == ["Pause 1e400", "Pause 0.5"]


def test_proposed_values_are_drawn_as_they_are() -> None:
    """Of every option of every generator: what is proposed is never refused."""
    registry = build_registry()
    for pipeline in registry:
        for name in sweep_options(pipeline):
            text = proposed_values(name, pipeline, registry.names())
            if not text:
                continue
            axis = parse_axis(name, text, pipeline, "a cat")
            assert 1 <= len(axis.values) <= MAX_VALUES, f"{pipeline.name}.{name}: {text}"
            if name in ("seed", "pipeline"):
                continue
            for value in axis.values:
                parse_options(pipeline.Options, {name: value})
