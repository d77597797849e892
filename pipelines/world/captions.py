"""Captions of scenes: many ways to say the same picture, in English and Portuguese.

What a caption says of objects, colours, sizes, counts, relation, place and medium is true of the
scene and can be read back from it; what the scene leaves unsaid (``say_background`` False, no
colour, no medium) is not mentioned. Colours that a grey medium cannot show are left out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.world.concepts import Concept
from pipelines.world.grammar import Choices, Phrase, load_grammar, settle_articles
from pipelines.world.hard_negatives import GREY_MEDIA, TONELESS_MEDIA
from pipelines.world.noun_phrases import phrases
from pipelines.world.scenes import COLOURS, Scene, SceneObject

# Clauses that no "a photo of ..." can precede.
_SENTENCES = ("there ", "há ", "on the left ", "just ", "only ", "apenas ")
_NOUN_STARTS = ("a", "two", "um", "dois")
_HUES = frozenset(COLOURS) - {"black", "white", "gray"}
_P_CLOSEUP = 0.25
_P_BARE_MEDIUM = 0.25
_P_PHOTO_PORTRAIT = 0.3
_P_KEYWORDS = 0.06
_P_WHERE = 0.1


@dataclass(frozen=True)
class Caption:
    """What a scene shows, in words.

    Attributes:
        text: lower-case, without line breaks, such as "a photo of a dog right of a bench".
        order: numbers of the scene's objects as the text names them, the first one first.
    """

    text: str
    order: tuple[int, ...]


def caption(
    scene: Scene, concepts: Mapping[str, Concept], rng: random.Random, language: str = "en",
    in_order: bool = False,
) -> str:
    """The text of ``captioned``."""
    return captioned(scene, concepts, rng, language, in_order).text


def captioned(
    scene: Scene, concepts: Mapping[str, Concept], rng: random.Random, language: str = "en",
    in_order: bool = False,
) -> Caption:
    """Says what a scene shows, in one of many ways.

    Args:
        scene: The scene.
        concepts: Concepts by id.
        rng: Source of randomness; the same state gives the same caption.
        language: "en" or "pt".
        in_order: Name things side by side in the scene's order, and not in any.
    """
    words = load_grammar(language)
    closeup = (
        scene.kind == "single"
        and scene.objects[0].size == "big"
        and scene.medium is None
        and rng.random() < _P_CLOSEUP
    )
    if not closeup and scene.relation in (None, "with") and rng.random() < _P_KEYWORDS:
        text, order = _keywords(scene, concepts, rng, words, language, in_order)
        return Caption(settle_articles(text), tuple(order))
    things = _phrases(scene, concepts, rng, language, closeup)
    order = list(range(len(scene.objects)))
    if closeup:
        clause, medium_said = str(things[0]), False
    else:
        clause, medium_said, order = _clause(scene, things, concepts, rng, words, language,
                                             in_order)
        if scene.kind == "single" and not medium_said and rng.random() < _P_WHERE:
            clause = f"{clause} {words['where'][where(scene.objects[0])].pick(rng)}"
    fronted = False
    if scene.say_background and _shows_background(scene):
        join = words["places"]["joins"].pick(rng)
        fronted = join.startswith("{p}") and not (
            closeup or medium_said or clause.startswith(_SENTENCES)
        )
        clause = (join if fronted or not join.startswith("{p}") else "{s} {p}").format(
            s=clause, p=_place(scene.background, rng, words, language)
        )
    if not medium_said:
        clause = _wrap(scene, clause, fronted, closeup, rng, words)
    return Caption(settle_articles(_noise(clause, rng, words)), tuple(order))


def where(item: SceneObject) -> str:
    """The side or corner of the picture that a thing is near, or "middle"."""
    x, y = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
    across = "left" if x < 0.4 else "right" if x > 0.6 else ""
    down = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    return f"{down} {across}".strip() or "middle"


def _keywords(
    scene: Scene, concepts: Mapping[str, Concept], rng: random.Random, words: Mapping[str, Any],
    language: str, in_order: bool
) -> tuple[str, list[int]]:
    """The caption as a list of words: "dog, red, at the beach, watercolor"; and the order in
    which it names the objects."""
    says, order = phrases(language), list(range(len(scene.objects)))
    if scene.kind == "count":
        parts = [_count(scene, concepts[scene.objects[0].concept], rng, words, language)]
    else:
        # In English a colour may stand by itself; in Portuguese it agrees with its noun.
        apart = language == "en" and len(scene.objects) == 1 and rng.random() < 0.4
        colour = _shown_colour(scene.objects[0], scene)
        parts = [phrase.bare for phrase in _phrases(scene, concepts, rng, language, False, apart)]
        if len(parts) > 1 and not in_order and scene.relation is None:
            rng.shuffle(order)
            parts = [parts[k] for k in order]
        if apart and colour:
            parts.append(says.colour(colour, rng))
    if scene.say_background and _shows_background(scene):
        parts.append(_place(scene.background, rng, words, language))
    style = scene.objects[0].style
    known = words["keywords"]
    medium = known[scene.medium or (style if style in known else "none")].pick(rng)
    if scene.kind == "portrait":
        medium = f"{medium} {words['portrait_word']}".strip()
    return ", ".join([*parts, medium] if medium else parts), order


def _phrases(
    scene: Scene, concepts: Mapping[str, Concept], rng: random.Random, language: str, closeup: bool,
    colourless: bool = False
) -> list[Phrase]:
    if scene.kind == "count":
        return []
    shown = [concepts[o.concept] for o in scene.objects]
    roles = [c.role for c in shown if c.role]
    return [
        phrases(language).phrase(
            c,
            rng,
            colour=None if colourless else _shown_colour(o, scene),
            size=None if closeup else o.size,
            portrait=scene.kind == "portrait",
            gendered=c.role is not None and roles.count(c.role) > 1,
            old=o.old,
            tone=_shown_tone(o, scene),
        )
        for o, c in zip(scene.objects, shown, strict=True)
    ]


def _shown_colour(item: SceneObject, scene: Scene) -> str | None:
    return None if scene.medium in GREY_MEDIA else item.colour


def _shown_tone(item: SceneObject, scene: Scene) -> str | None:
    return item.tone if item.say_tone and scene.medium not in TONELESS_MEDIA else None


def _shows_background(scene: Scene) -> bool:
    return scene.medium not in GREY_MEDIA or scene.background not in _HUES


def _clause(
    scene: Scene,
    things: Sequence[Phrase],
    concepts: Mapping[str, Concept],
    rng: random.Random,
    words: Mapping[str, Any],
    language: str,
    in_order: bool,
) -> tuple[str, bool, list[int]]:
    """What is seen, whether that already names the medium ("a neon cat"), and the order in which
    it names the objects."""
    order = list(range(len(scene.objects)))
    if scene.kind == "count":
        return (_count(scene, concepts[scene.objects[0].concept], rng, words, language), False,
                order)
    if scene.kind == "single":
        bare = words["bare_media"].get(scene.medium)
        plain = things[0].article == "a~ " and scene.objects[0].size is None
        if bare and plain and rng.random() < _P_BARE_MEDIUM:
            return bare.format(bare=things[0].bare), True, order
        template = _sentence(words["single_templates"].pick(rng), "{a}", things)
        return template.format(a=things[0]), False, order
    if len(things) == 1:
        return str(things[0]), False, order
    if scene.kind == "group" or len(things) > 2:
        order = order if in_order else rng.sample(order, len(order))
        named = [str(things[k]) for k in order]
        join, last = words["group_joins"].pick(rng)
        return join.join(named[:-1]) + last + named[-1], False, order
    first, second = things
    if scene.relation is None:
        if not in_order and rng.random() < 0.5:
            first, second, order = second, first, [1, 0]
        template = _sentence(words["pair_templates"].pick(rng), words["pair_default"], things)
        return template.format(a=first, b=second), False, order
    relation = scene.relation
    if relation == "with" and concepts[scene.objects[0].concept].group == "person":
        relation = "person_with"
    template = words["relations"][relation].pick(rng)
    order = sorted(order, key=lambda k: template.index(("{a}", "{b}")[k]))
    return template.format(
        a=first, b=second, the_a=f"the {first.bare}", the_b=f"the {second.bare}"
    ), False, order


def _sentence(template: str, default: str, things: Sequence[Phrase]) -> str:
    """The template, unless it is a sentence ("there is ...") that needs an article not there."""
    return template if template.startswith("{") or all(t.article for t in things) else default


def _count(
    scene: Scene, concept: Concept, rng: random.Random, words: Mapping[str, Any], language: str
) -> str:
    item, number = scene.objects[0], len(scene.objects)
    says = phrases(language)
    plural = says.plural(concept, rng, colour=_shown_colour(item, scene), size=item.size,
                         old=item.old, tone=_shown_tone(item, scene))
    if (
        number == 2
        and words["two_templates"]
        and not concept.article.startswith("a pair")
        and rng.random() < 0.06
    ):
        return words["two_templates"].pick(rng).format(x=plural)
    return words["count_templates"].pick(rng).format(n=says.number(number, concept, rng), x=plural)


def _place(background: str, rng: random.Random, words: Mapping[str, Any], language: str) -> str:
    places = words["places"]
    if background in words["colours"]:
        return places["colour"].pick(rng).format(c=phrases(language).colour(background, rng))
    return places[background].pick(rng)


def _pick(templates: Choices, clause: str, fronted: bool, rng: random.Random) -> str:
    """A template that suits the clause: nothing stands before a sentence or a fronted place."""
    template = templates.pick(rng)
    if not fronted and not clause.startswith(_SENTENCES):
        return template
    suffixes = [t for t in templates.values if t.startswith("{s}")]
    return rng.choice(suffixes)


def _wrap(
    scene: Scene,
    clause: str,
    fronted: bool,
    closeup: bool,
    rng: random.Random,
    words: Mapping[str, Any],
) -> str:
    medium = scene.medium or "none"
    if closeup:
        return words["portrait"]["closeups"].pick(rng).format(s=clause)
    if scene.kind != "portrait":
        style = scene.objects[0].style
        known = words["styles"] if medium == "none" and style in words["styles"] else None
        templates = known[style] if known else words["media"][medium]
        return _pick(templates, clause, fronted, rng).format(s=clause)
    portrait = words["portrait"]
    if medium == "none" and not fronted and rng.random() < _P_PHOTO_PORTRAIT:
        return portrait["photo_none"].pick(rng).format(s=clause)
    template = _pick(portrait["templates"], clause, fronted, rng)
    return template.format(s=clause, m=portrait["adjectives"][medium].pick(rng))


def _noise(text: str, rng: random.Random, words: Mapping[str, Any]) -> str:
    """Now and then what people add to prompts and what changes nothing in the picture."""
    draw = rng.random()
    if draw < 0.02:
        return text + rng.choice(words["endings"])
    if draw < 0.035 and text.startswith(_NOUN_STARTS) and not text.startswith(_SENTENCES):
        return rng.choice(words["openings"]) + text
    return text + "." if draw < 0.05 else text
