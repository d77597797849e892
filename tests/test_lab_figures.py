"""The figures of the lab: shares and recalls by hand, the search's benchmark on a small index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.report import search_table
from benchmarks.results import RESULTS_DIR, read_results
from benchmarks.search import search_speed
from benchmarks.zero_shot import concept_scenes, lab_table, recalls, top_shares
from training.data import World


def test_the_likeliest_and_the_five_likeliest_count() -> None:
    probabilities = np.array([[9, 8, 7, 6, 5, 4], [4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4]]) / 100
    found = top_shares(probabilities, np.array([0, 1, 5]))
    assert found == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}


def test_scenes_of_one_caption_answer_for_each_other() -> None:
    similarities = np.eye(8)
    similarities[0] = similarities[1][::1]  # the first text finds the second picture
    assert recalls(similarities, [f"text {n}" for n in range(8)])["text_to_picture_r1"] == 7 / 8
    twins = ["twin", "twin", *(f"text {n}" for n in range(6))]
    assert recalls(similarities, twins)["text_to_picture_r1"] == 1
    hidden = np.zeros((8, 8))
    hidden[:, 7] = -1  # a picture that no text comes to, nor its text to it
    found = recalls(hidden, [f"text {n}" for n in range(8)])
    assert (found["text_to_picture_r1"], found["text_to_picture_r5"]) == (1 / 8, 5 / 8)


def test_every_concept_is_drawn_once_in_its_medium() -> None:
    world = World()
    world.concepts = world.concepts[:5]
    scenes = concept_scenes(world, "sticker")
    assert [scene.objects[0].concept for scene in scenes] == [c.id for c in world.concepts]
    assert {(len(s.objects), s.medium, s.objects[0].style) for s in scenes} == {
        (1, "sticker", "twemoji")}


def test_the_search_is_measured_on_a_real_index(tmp_path: Path) -> None:
    found = search_speed(400, tmp_path)
    assert found["recall_at_10"] == 1
    assert found["codes"] is False
    assert found["times_plain_numpy"] == pytest.approx(
        found["plain_numpy"]["median_ms"] / found["served"]["median_ms"])
    lines = search_table({"search": [found], "torch_threads": 1,
                          "embedding": {"pictures": 512, "share": 0.83}})
    assert lines.splitlines()[2].startswith("| 400 | ")
    assert lines.endswith("A folder of 512 pictures is indexed at 83 % of the CLIP's own "
                          "rate on 1 CPU thread.")


def test_the_table_has_every_medium_and_both_ways() -> None:
    table = lab_table(read_results(RESULTS_DIR / "lab.json")).splitlines()
    assert table[0].endswith("labels | ranker | guide |")
    assert len(table) == 2 + 2 + 11 + 2
    assert all(line.count("|") == 4 for line in table)
    assert table[-1].startswith("| picture to text among 1,000 scenes, R@1 / R@5 | ")
