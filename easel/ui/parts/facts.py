"""What a person may want to know of a picture, out of the facts that its file keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from easel.ui.parts.panel import mark_text, seconds
from easel.words.language import figure, written
from pipelines.calibration import calibration_of
from pipelines.core.events import Mark
from pipelines.core.options import AUTO, option_fields
from pipelines.core.sentences import Sentence
from pipelines.dalle_plan import written_places
from pipelines.pipeline import Pipeline
from pipelines.registry import Registry


def facts_of(facts: Mapping[str, Any], pipeline: Pipeline | None) -> Iterator[tuple[str, str]]:
    """Label and value of each, in English.

    Args:
        facts: as ``pipelines.core.metadata.picture_metadata`` makes them, of any age: what is not
            there is left out.
        pipeline: who drew it, for the titles of its options; None where it is not installed.
    """
    scores = _mapping(facts.get("scores"))
    yield "Generator", pipeline.title if pipeline else str(facts.get("pipeline", ""))
    if (seed := facts.get("seed")) is not None:
        yield "Seed", str(seed)
    if isinstance(score := scores.get("clip"), int | float):
        yield "CLIP score", Sentence("{} (cosine similarity)", figure(score, ".4f"))
        if (scale := calibration_of(facts, str(facts.get("prompt", "")))) is not None:
            yield "Fit", Sentence("better than {} % of near misses", scale.percent(score))
    if isinstance(probability := scores.get("probability"), int | float):
        share = figure(100 * probability, ".1f")
        yield "Probability", Sentence("{} % among the pictures of this run", share)
    if isinstance(score := facts.get("guide_score"), int | float):
        shown = figure(score, ".4f")
        yield "Guide’s score", Sentence("{}, by the CLIP that guided it: not comparable", shown)
    if facts.get("width_px") and facts.get("height_px"):
        yield "Size", f"{facts['width_px']} × {facts['height_px']} px"
    if isinstance(elapsed_s := facts.get("elapsed_s"), int | float):
        took = seconds(elapsed_s)
        yield "Run", _elapsed(took, facts)
    for change in facts.get("changes") or ():
        yield "Changed", mark_text(Mark(change["step"], change))
    options = dict(_mapping(facts.get("options")))
    if options.get("precision") == AUTO:
        options["precision"] = facts.get("computed_in") or AUTO
    options |= _planned(_mapping(facts.get("plan")))
    yield from option_facts(options, pipeline)
    if weights := _mapping(facts.get("weights")):
        yield "Weights", ", ".join(f"{model} {str(digest)[:12]}" if digest else str(model)
                                   for model, digest in weights.items())


def _planned(plan: Mapping[str, Any]) -> dict[str, str]:
    """What a plan says, in the words of DALL·E's options; nothing where it is none."""
    try:
        return {"style": str(plan["style"]), "background": str(plan["background"]),
                "places": written_places(plan["things"])}
    except (KeyError, TypeError):
        return {}


def option_facts(options: Mapping[str, Any], pipeline: Pipeline | None,
                 ) -> Iterator[tuple[str, str]]:
    """Label and value of each option that is not empty, in English; see ``facts_of``."""
    titles: dict[str, str] = {}
    if pipeline is not None:
        titles = {option.name: option.title for option in option_fields(pipeline.Options)}
    for name in [*(name for name in titles if name in options),
                 *(name for name in options if name not in titles)]:
        if (value := options[name]) not in (None, ""):
            yield titles.get(name, name), _plain(value)


def title_of(registry: Registry, pipeline: str) -> str:
    """What people call a generator; its name where it is not installed."""
    return registry.get(pipeline).title if pipeline in registry.names() else pipeline


def _elapsed(took: str, facts: Mapping[str, Any]) -> str:
    """How long a run took, and what ended it where it was not its last step."""
    if facts.get("stopped"):
        return Sentence("{}, stopped early", took)
    if isinstance(step := facts.get("ended_at_step"), int):
        return Sentence("{}, no better any more after {} steps", took, step)
    return took


def _plain(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return written(f"{value:g}") if isinstance(value, float) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
