"""Pipelines by name: no name twice, no option without words, no silence about a wrong name."""

from __future__ import annotations

import pytest
import torch
from pydantic import Field

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.options import Options
from pipelines.pipeline import Lesson, RunContext
from pipelines.registry import GENERATORS, Registry
from tests.noise import NoisePipeline, linear_cache, noise_registry


def test_names_and_get() -> None:
    registry = noise_registry()
    assert registry.names() == ("noise",)
    assert registry.get("noise").title == "Noise"
    assert [p.name for p in registry] == ["noise"]
    with pytest.raises(InvalidRequest, match="no generator called 'other'; there are: noise"):
        registry.get("other")


def test_a_name_is_taken_once() -> None:
    registry = noise_registry()
    with pytest.raises(ValueError, match="registered already"):
        registry.register(NoisePipeline())


def test_an_option_needs_words() -> None:
    class Silent(Options):
        steps: int = Field(3, ge=1)

    class SilentPipeline(NoisePipeline):
        Options = Silent  # pyright: ignore[reportAssignmentType]

    with pytest.raises(TypeError, match=r"Silent\.steps needs a description"):
        Registry().register(SilentPipeline())


def test_a_generator_needs_a_lesson() -> None:
    class Untaught(NoisePipeline):
        lesson = Lesson("", "", "")

    with pytest.raises(TypeError, match="'noise' needs a lesson"):
        Registry().register(Untaught())


def test_every_generator_has_a_lesson_of_its_own() -> None:
    lessons = [kind.lesson for kind in GENERATORS]
    assert len({lesson.title for lesson in lessons}) == len(lessons)
    assert all(100 < len(lesson.text) < 900 and lesson.paper for lesson in lessons)


def test_context_announces_what_it_must_load() -> None:
    context = RunContext(linear_cache(), torch.device("cpu"))
    (progress,) = context.loading("linear/8")
    assert progress.message.startswith("Loading the linear/8, 0 kB")
    with context.lease("linear/8"):
        assert list(context.loading("linear/8")) == []
    assert context.used_models == {"linear/8"}


def test_check_raises_once_cancelled() -> None:
    stop = False
    context = RunContext(linear_cache(), torch.device("cpu"), cancelled=lambda: stop)
    context.check()
    stop = True
    with pytest.raises(Cancelled):
        context.check()


def test_a_pipeline_waits_until_its_models_are_here() -> None:
    here = False
    registry = Registry()
    registry.register(NoisePipeline(), lambda: here)
    assert [p.name for p in registry.waiting()] == ["noise"]
    assert registry.names() == ()
    assert list(registry) == []
    with pytest.raises(InvalidRequest, match="no generator called 'noise'"):
        registry.get("noise")
    with pytest.raises(ValueError, match="registered already"):
        registry.register(NoisePipeline())
    here = True
    assert registry.get("noise").title == "Noise"
    assert (registry.names(), registry.waiting()) == (("noise",), ())
    here = False
    assert registry.names() == ("noise",), "what came stays"
