"""The prompts of ``compose``, its rules on hand-made detections, its figures and controls."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compose import ComposePlan, summary
from benchmarks.controls import render_pools, shuffled_pools
from benchmarks.judge.model import Detection, Verdict
from benchmarks.pictures import PictureStore, interleaved, prompt_seed
from benchmarks.report import report
from benchmarks.results import write_results
from benchmarks.scoring import (
    Pool,
    Score,
    best_of,
    combined,
    interval95,
    overall,
    relations_of,
    score,
    task_means,
    worst_concepts,
)
from benchmarks.sheets import contact_sheet
from benchmarks.tasks import (
    COMBINED_TASKS,
    TASKS,
    WORLD_TASK,
    TaskPrompt,
    Wanted,
    accepts,
    noun,
    scene_of,
    task_prompts,
    tuning_prompts,
)
from pipelines.core.events import Candidate, Event, Progress, Result
from pipelines.core.request import CheckedRequest
from pipelines.dalle import DallePipeline
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry
from pipelines.world.concepts import concepts_by_id
from pipelines.world.scenes import Scene, is_held_out_pair, is_held_out_triple, uses_held_out

CONCEPTS = concepts_by_id()
PROMPTS = task_prompts(CONCEPTS)
EVERY_PROMPT = [p for group in PROMPTS.values() for p in group]
RIGHT, WRONG = Score(True, True, (True,)), Score(False, False, (False,))


def detection(concept: str | None, x: float = 0.5, y: float = 0.5, *, colour: str = "native",
              score: float = 0.9, probability: float = 0.95, side: float = 0.3) -> Detection:
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return Detection(concept, probability, score, colour, box)


def seen(*detections: Detection) -> Verdict:
    return Verdict(detections, "white", "fluent")


def verdict_of(scene: Scene) -> Verdict:
    """What a judge without fault says of a scene."""
    return seen(*(Detection(o.concept, 1.0, 1.0, o.colour or "native", o.box)
                  for o in scene.objects))


def outcome(prompt: TaskPrompt, *detections: Detection) -> tuple[bool, bool]:
    result = score(prompt, seen(*detections), CONCEPTS)
    return result.correct, result.strict


# Prompts

def test_every_task_has_enough_distinct_prompts() -> None:
    for task in TASKS:
        texts = {p.text for p in PROMPTS[task]}
        assert len(texts) == len(PROMPTS[task]) >= 60
    assert {p.wanted[0].concept for p in PROMPTS[WORLD_TASK]} == set(CONCEPTS)
    assert all(CONCEPTS[w.concept].coco for t in TASKS for p in PROMPTS[t] for w in p.wanted)


def test_prompts_are_the_same_every_time() -> None:
    assert task_prompts(CONCEPTS) == PROMPTS


def test_options_are_chosen_on_other_prompts() -> None:
    tuning = tuning_prompts(CONCEPTS)
    assert set(tuning) == set(TASKS)
    for task, prompts in tuning.items():
        assert len(prompts) >= 60
        assert not {p.text for p in prompts} & {p.text for p in PROMPTS[task]}


def test_a_quarter_of_the_combinations_is_held_out() -> None:
    for task in COMBINED_TASKS:
        held_out = [p.held_out for p in PROMPTS[task]]
        assert sum(held_out) == len(held_out) // 4
    for prompt in EVERY_PROMPT:
        truth = any(w.colour and is_held_out_pair(w.concept, w.colour) for w in prompt.wanted)
        if prompt.relation:
            first, second = prompt.wanted
            truth = is_held_out_triple(first.concept, prompt.relation, second.concept)
        assert prompt.held_out == truth


def test_prompts_are_phrased_as_in_geneval() -> None:
    assert noun(CONCEPTS["apple"]) == "an apple"
    assert noun(CONCEPTS["apple"], "red") == "a red apple"
    assert noun(CONCEPTS["car"], "orange") == "an orange car"
    assert noun(CONCEPTS["scissors"], "blue") == "a pair of blue scissors"
    assert all(p.text.startswith("a photo of ") for p in EVERY_PROMPT)
    for prompt in PROMPTS["position"]:
        assert f" {prompt.relation} a" in prompt.text or f" {prompt.relation} s" in prompt.text


def test_kinds_answer_for_what_is_broader_and_roles_for_a_person() -> None:
    assert accepts("bird", "duck", CONCEPTS)
    assert not accepts("duck", "bird", CONCEPTS)
    role = next(c.id for c in CONCEPTS.values() if c.role)
    assert accepts("person", role, CONCEPTS)
    assert not accepts("dog", "cat", CONCEPTS)
    for prompt in EVERY_PROMPT:
        if len(prompt.wanted) == 2:
            a, b = (w.concept for w in prompt.wanted)
            assert not accepts(a, b, CONCEPTS)
            assert not accepts(b, a, CONCEPTS)


@pytest.mark.parametrize("task", [*TASKS, WORLD_TASK])
def test_a_scene_of_the_prompt_is_right_by_the_rules(task: str) -> None:
    for prompt in PROMPTS[task]:
        scene = scene_of(prompt)
        result = score(prompt, verdict_of(scene), CONCEPTS)
        assert result.correct, prompt.text
        assert result.strict, prompt.text
        if prompt.task in COMBINED_TASKS:
            assert uses_held_out(scene) == prompt.held_out


# Rules

SINGLE = TaskPrompt("single_object", "a photo of a dog", (Wanted("dog"),))
COUNT = TaskPrompt("counting", "a photo of three dogs", (Wanted("dog", 3),))
RED_CAR = TaskPrompt("colours", "a photo of a red car", (Wanted("car", colour="red"),))
RED_APPLE = TaskPrompt("colours", "a photo of a red apple", (Wanted("apple", colour="red"),))
BLUE_DOG_RED_CAT = TaskPrompt("attribution", "a photo of a blue dog and a red cat",
                              (Wanted("dog", colour="blue"), Wanted("cat", colour="red")))


def test_extras_matter_only_to_the_strict_score() -> None:
    assert outcome(SINGLE, detection("dog")) == (True, True)
    assert outcome(SINGLE, detection("dog", 0.2), detection("cat", 0.8)) == (True, False)
    assert outcome(SINGLE, detection("dog", 0.2), detection(None, 0.8)) == (True, False)
    assert outcome(SINGLE, detection("cat")) == (False, False)
    assert outcome(SINGLE) == (False, False)


def test_an_unsure_concept_is_none() -> None:
    assert outcome(SINGLE, detection("dog", probability=0.4)) == (False, False)


@given(st.integers(0, 6), st.integers(0, 2))
def test_counts_are_exact(dogs: int, cats: int) -> None:
    things = [detection("dog", 0.1 * i) for i in range(dogs)]
    things += [detection("cat", 0.1 * i, 0.9) for i in range(cats)]
    assert outcome(COUNT, *things) == (dogs == 3, dogs == 3 and cats == 0)


@given(st.sampled_from(["red", "blue", "native"]), st.sampled_from(["red", "blue", "native"]))
def test_colours_belong_to_their_objects(dog: str, cat: str) -> None:
    correct, _ = outcome(BLUE_DOG_RED_CAT, detection("dog", 0.2, colour=dog),
                         detection("cat", 0.8, colour=cat))
    assert correct == (dog == "blue" and cat == "red")


def test_the_colour_that_a_thing_has_anyway_counts() -> None:
    assert CONCEPTS["apple"].native_colour == "red"
    assert outcome(RED_APPLE, detection("apple")) == (True, True)
    assert outcome(RED_APPLE, detection("apple", colour="green")) == (False, False)
    assert outcome(RED_CAR, detection("car", colour="blue")) == (False, False)


OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
coordinate = st.floats(0.1, 0.9)


@given(coordinate, coordinate, coordinate, coordinate, st.floats(0.1, 0.6))
def test_relations_turn_round_with_their_objects(x: float, y: float, u: float, v: float,
                                                 side: float) -> None:
    first, second = detection("dog", x, y, side=side), detection("cat", u, v, side=side)
    there, back = relations_of(first, second), relations_of(second, first)
    assert back == {OPPOSITE[r] for r in there}
    assert not {"left of", "right of"} <= there
    assert not {"above", "below"} <= there
    if "left of" in there:
        assert u - x > 0.2 * side - 1e-9  # a tenth of both widths
    if "below" in there:
        assert y > v


def test_relations_need_more_than_the_margin() -> None:
    assert relations_of(detection("dog", 0.5), detection("cat", 0.5)) == set()
    assert relations_of(detection("dog", 0.47), detection("cat", 0.5)) == set()
    assert relations_of(detection("dog", 0.2), detection("cat", 0.8)) == {"left of"}
    assert relations_of(detection("dog", 0.5, 0.2), detection("cat", 0.5, 0.8)) == {"above"}


def test_position_prompts_need_their_relation() -> None:
    prompt = TaskPrompt("position", "a photo of a dog left of a cat",
                        (Wanted("dog"), Wanted("cat")), "left of")
    assert outcome(prompt, detection("dog", 0.2), detection("cat", 0.8)) == (True, True)
    assert outcome(prompt, detection("dog", 0.8), detection("cat", 0.2)) == (False, False)
    assert outcome(prompt, detection("dog", 0.2)) == (False, False)


# Figures

def pools_of(*hits: tuple[bool, ...], task: str | None = None) -> list[Pool]:
    """One pool a task with the given outcomes; the ranker prefers later pictures."""
    return [Pool(TaskPrompt(t, t, (Wanted("dog"),)),
                 tuple(RIGHT if h else WRONG for h in row), tuple(map(float, range(len(row)))))
            for row in hits for t in ([task] if task else TASKS)]


def test_best_of_takes_one_of_each_run_of_pictures() -> None:
    pools = pools_of((True, False, False, True))
    assert best_of(pools, 1) == {"random": 0.5, "clip": 0.5, "oracle": 0.5}
    assert best_of(pools, 2) == {"random": 0.5, "clip": 0.5, "oracle": 1.0}
    assert best_of(pools, 4) == {"random": 0.5, "clip": 1.0, "oracle": 1.0}
    assert best_of(pools, 8) is None


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=6))
def test_nobody_beats_the_oracle(hits: list[tuple[bool, ...]]) -> None:
    pools = pools_of(*hits)
    figures = [row for n in (1, 2, 4) if (row := best_of(pools, n)) is not None]
    assert len(figures) == 3
    for row in figures:
        assert row["clip"] <= row["oracle"] + 1e-9
        assert row["random"] == pytest.approx(overall(task_means(pools)))
    assert [r["oracle"] for r in figures] == sorted(r["oracle"] for r in figures)


def test_overall_needs_all_six_tasks() -> None:
    assert overall(task_means(pools_of((True, False)))) == 0.5
    some = pools_of((True,), task="counting")
    assert task_means(some) == {"counting": 1.0}
    assert overall(task_means(some)) is None
    assert best_of(some, 1) is None
    assert interval95(some) is None


def test_the_interval_holds_the_mean_and_shrinks_with_prompts() -> None:
    few, many = pools_of((True,), (False,)), pools_of(*[(True,), (False,)] * 20)
    low, high = interval95(few) or (1, 0)
    assert low <= 0.5 <= high
    tight = interval95(many) or (0, 1)
    assert tight[1] - tight[0] < high - low


def test_seen_and_held_out_are_kept_apart() -> None:
    seen_pools = [p for t in COMBINED_TASKS for p in pools_of((True,), task=t)]
    held = [replace(p, prompt=replace(p.prompt, held_out=True), scores=(WRONG,))
            for p in seen_pools]
    assert combined(seen_pools + held, held_out=False) == 1.0
    assert combined(seen_pools + held, held_out=True) == 0.0
    assert combined(seen_pools, held_out=True) is None


def test_the_worst_concepts_come_first() -> None:
    cat = Pool(TaskPrompt("counting", "", (Wanted("cat"),)), (RIGHT,), (0.0,))
    assert worst_concepts([cat, *pools_of((True, False))])[0] == ("dog", 0.5, 12)


def test_a_limit_keeps_tasks_in_turn() -> None:
    plan = ComposePlan(limit=4, world_limit=2)
    prompts = plan.prompts(PROMPTS)
    assert len(prompts) == 4 * len(TASKS) + 2
    assert [p.task for p in prompts[:7]] == [*TASKS, WORLD_TASK]
    assert any(p.held_out for p in prompts)


# Controls, with a judge without fault

def test_controls_bracket_what_is_possible() -> None:
    prompts = interleaved({t: PROMPTS[t][:16] for t in TASKS})
    shown: list[Scene] = []

    def render(scenes):
        shown.extend(scenes)
        return torch.zeros(len(scenes), 3, 8, 8)

    def judge(pictures):
        return [verdict_of(s) for s in shown[-len(pictures):]]

    pools, verdicts = render_pools(prompts, render, judge, CONCEPTS)
    figures = summary(pools)
    assert figures["overall"] == figures["overall_strict"] == 1.0
    assert figures["seen"] == figures["held_out"] == 1.0
    shuffled = summary(shuffled_pools(prompts, verdicts, CONCEPTS))
    assert shuffled["overall"] < 0.2
    assert set(figures) >= {"tasks", "overall", "overall_strict", "seen", "held_out", "best_of"}


# Pictures on disk

class CountingBackend:
    """Draws flat pictures whose grey is their seed, ranked in reverse, as a backend would."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.registry.register(DallePipeline())
        self.requests: list[CheckedRequest[Any]] = []

    def stream(self, request: CheckedRequest[Any]) -> Generator[Event, None, None]:
        self.requests.append(request)
        yield Progress(1, 1)
        candidates = [Candidate(np.full((16, 16, 3), seed % 256, np.uint8), seed, i,
                                {"clip": 0.1 * i}) for i, seed in enumerate(request.seeds)]
        yield Result(tuple(reversed(candidates)), 0.1)


def test_pictures_are_drawn_once_and_added_to(tmp_path: Path) -> None:
    backend = CountingBackend()
    store = PictureStore(backend, "dalle", {}, {"m": "a"}, tmp_path)
    assert store.read(SINGLE) is None
    first = store.draw(SINGLE, 2)
    grown = PictureStore(backend, "dalle", {}, {"m": "a"}, tmp_path).draw(SINGLE, 3)
    assert [r.num_images for r in backend.requests] == [2, 1]
    seed = prompt_seed(SINGLE)
    assert grown.images[:, 0, 0, 0].tolist() == [(seed + i) % 256 for i in range(3)]
    assert np.array_equal(grown.images[:2], first.images)
    assert store.draw(SINGLE, 2).images.shape == (3, 16, 16, 3)
    assert len(backend.requests) == 2


def test_other_weights_start_afresh(tmp_path: Path) -> None:
    backend = CountingBackend()
    PictureStore(backend, "dalle", {}, {"m": "a"}, tmp_path).draw(SINGLE, 1)
    assert PictureStore(backend, "dalle", {}, {"m": "b"}, tmp_path).read(SINGLE) is None
    same = PictureStore(backend, "dalle", {}, {"m": "a", RANKER: "b"}, tmp_path)
    assert same.read(SINGLE) is not None, "no picture depends on the ranker"
    assert PictureStore(backend, "dalle", {"top_k": 5}, {"m": "a"}, tmp_path).read(SINGLE) is None


def test_a_run_out_of_time_keeps_what_it_has(tmp_path: Path) -> None:
    backend = CountingBackend()
    store = PictureStore(backend, "dalle", {}, {}, tmp_path)
    store.fill([(SINGLE, 1), (COUNT, 1)], minutes=-1)
    assert not backend.requests
    store.fill([(SINGLE, 1), (COUNT, 1)], minutes=None)
    assert len(backend.requests) == 2


def test_a_contact_sheet_frames_what_is_right(tmp_path: Path) -> None:
    from PIL import Image

    picture = np.full((64, 64, 3), 255, np.uint8)
    path = tmp_path / "sheets" / "single.png"
    contact_sheet([(picture, "a photo of a dog", True), (picture, "a photo of a cat", False)], path)
    with Image.open(path) as sheet:
        red, green, _ = np.asarray(sheet)[1, 1].tolist()
        assert green > red
        red, green, _ = np.asarray(sheet)[1, 161].tolist()
        assert red > green


def test_the_report_shows_what_there_is(tmp_path: Path) -> None:
    assert report(tmp_path) == ""
    figures = summary(pools_of((True, False)), [1, 2])
    write_results(tmp_path / "compose.json", {"dalle": figures, "controls": {"shuffled": figures}})
    text = report(tmp_path)
    assert "| dalle | 0.50 |" in text
    assert "the floor" in text
    assert "| dalle | 2 | 0.50 | 0.00 | 1.00 |" in text
