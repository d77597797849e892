"""The list of concepts: what people type, without ambiguity, and drawable from three sources."""

from __future__ import annotations

import re

import pytest

from pipelines.world.concepts import Concept, concepts_by_id, load_concepts
from pipelines.world.grammar import indefinite_article
from pipelines.world.scenes import COLOURS

# COCO's classes that have art in all three emoji sets.
COCO = """\
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, stop sign,
bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, kite, skateboard, tennis racket, sports ball, bottle, wine glass,
cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
pizza, donut, cake, chair, couch, potted plant, bed, toilet, tv, laptop, keyboard, computer
mouse, cell phone, book, clock, vase, scissors, teddy bear, toothbrush"""


@pytest.fixture(scope="module")
def concepts() -> dict[str, Concept]:
    return concepts_by_id()


def test_there_are_enough_concepts_of_every_group(concepts: dict[str, Concept]) -> None:
    assert 400 <= len(concepts) <= 460
    groups = {c.group for c in concepts.values()}
    assert groups >= {
        "animal",
        "food",
        "plant",
        "vehicle",
        "building",
        "household",
        "sport",
        "music",
        "clothing",
        "weather",
        "person",
        "tool",
    }


def test_every_coco_class_with_art_is_there_and_marked(concepts: dict[str, Concept]) -> None:
    by_name = {name: c for c in concepts.values() for name in c.names}
    names = " ".join(COCO.split()).split(", ")
    assert len(names) > 60
    for name in names:
        assert by_name[name].coco, name


@pytest.mark.parametrize("field", ["names", "plurals", "pt", "pt_plurals"])
def test_no_name_means_two_things(concepts: dict[str, Concept], field: str) -> None:
    owner: dict[str, str] = {}
    for c in concepts.values():
        for name in getattr(c, field):
            assert owner.setdefault(name, c.id) == c.id, name
    roles = {role for c in concepts.values() for role in c.role_names}
    if field == "names":
        for role in roles & set(owner):
            assert role in concepts[owner[role]].role_names, role


def test_names_hold_no_colour_or_size(concepts: dict[str, Concept]) -> None:
    words = {*COLOURS, "grey", "small", "tiny", "little", "big", "large", "huge"}
    for c in concepts.values():
        for name in (*c.names, *c.plurals):
            assert name == "orange" or name == "oranges" or not words & set(name.split()), name


def test_articles_suit_the_names(concepts: dict[str, Concept]) -> None:
    for c in concepts.values():
        for name, article in zip(c.names, c.articles, strict=True):
            assert article in ("some", "a pair of", indefinite_article(name)), name
    wanted = {
        "unicorn": "a",
        "hourglass": "an",
        "ufo": "a",
        "suv": "an",
        "umbrella": "an",
        "orange": "an",
        "scissors": "a pair of",
        "broccoli": "some",
    }
    assert {key: concepts[key].article for key in wanted} == wanted


def test_plurals_are_right(concepts: dict[str, Concept]) -> None:
    wanted = {
        "strawberry": "strawberries",
        "mouse": "mice",
        "sheep": "sheep",
        "wolf": "wolves",
        "man": "men",
        "woman": "women",
        "knife": "knives",
        "person": "people",
        "die": "dice",
        "scissors": "scissors",
        "fish": "fish",
        "bus": "buses",
        "tooth": "teeth",
        "baby": "babies",
        "cactus": "cacti",
        "potato": "potatoes",
        "wine-glass": "wine glasses",
        "bow-and-arrow": "bows and arrows",
        "snowman": "snowmen",
    }
    assert {key: concepts[key].plurals[0] for key in wanted} == wanted
    bread = concepts["bread"]
    assert dict(zip(bread.names, bread.plurals, strict=True))["loaf of bread"] == "loaves of bread"
    for c in concepts.values():
        for plural in c.plurals:
            assert not re.search(r"([^aeiou]ys|[^aeiou]mans|sss|chs|shs|xs)\b", plural), plural


def test_portuguese_plurals_are_right(concepts: dict[str, Concept]) -> None:
    wanted = {
        "bread": "pães",
        "dog": "cachorros",
        "airplane": "aviões",
        "flower": "flores",
        "hot-dog": "cachorros-quentes",
        "woman": "mulheres",
        "cloud": "nuvens",
        "hospital": "hospitais",
        "pencil": "lápis",
        "baby-bottle": "mamadeiras",
        "teddy-bear": "ursinhos de pelúcia",
    }
    assert {key: concepts[key].pt_plurals[0] for key in wanted if key in concepts} == wanted


def test_people_have_role_gender_and_age(concepts: dict[str, Concept]) -> None:
    teachers = [c for c in concepts.values() if c.role == "teacher"]
    assert {c.gender for c in teachers} == {"man", "woman"}
    assert {c.pt[0] for c in teachers} == {"professor", "professora"}
    assert concepts["old-man"].age == "old"
    assert concepts["girl"].age == "young"
    for c in concepts.values():
        assert (c.group == "person") == (c.age is not None), c.id
        assert c.group != "person" or not c.colours, c.id
        assert c.native_colour is None or c.native_colour in COLOURS, c.id
        assert all(b in concepts for b in c.broader), c.id


def test_files_of_the_three_sources_are_named(concepts: dict[str, Concept]) -> None:
    for c in concepts.values():
        assert re.fullmatch(r"[0-9a-f]{4,5}(-[0-9a-f]{4,5})*", c.hex), c.id
        assert "fe0f" not in c.hex
        assert re.fullmatch(r"[a-z0-9-]+", c.fluent), c.id
    assert (
        len({c.hex for c in concepts.values()})
        == len(concepts)
        == len({c.fluent for c in concepts.values()})
    )
    assert len(load_concepts()) == len(concepts)
