"""A full device in the middle of a run: fewer candidates at once, and the same pictures."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pipelines.vqgan_clip.optimise
from easel.serving.backend import LocalBackend
from pipelines.batching import GREY
from pipelines.core.errors import OutOfMemory
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.request import CheckedRequest
from pipelines.dalle import DallePipeline
from pipelines.janus import JANUS, JanusPipeline
from pipelines.models.batches import Batches, is_out_of_memory
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.asking import stream
from tests.janus_folder import GRID, JanusLoader, write_janus
from tests.watched_sketch import WatchedSketch

OPTIONS: dict[str, dict[str, Any]] = {
    "dalle": {"guidance_scale": 1.0, "preview_every": 4},
    "janus": {"guidance_scale": 1.0, "preview_every": 9, "precision": "float32"},
    "unclip": {"prior_steps": 2, "decoder_steps": 3, "decoder_guidance_scale": 1.0,
               "prior_guidance_scale": 1.0},
    "vqgan_clip": {"iterations": 3, "num_cutouts": 1, "precision": "float32"}}
# Where a batch of the drawing passes through: a model, and a function of it or of a part of it.
PLACES = {"dalle": ("embedded/dalle", "sample_block"),
          "janus": (JANUS, "head.forward"),
          "unclip": ("embedded/unclip-decoder", "predict"),
          "vqgan_clip": ("embedded/clip-guide", "encode_image")}


@pytest.fixture(scope="module")
def janus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("janus")
    write_janus(path)
    return path


@pytest.fixture
def backend(janus_folder: Path) -> Iterator[LocalBackend]:
    registry = Registry()
    for pipeline in (DallePipeline(), JanusPipeline(), UnclipPipeline(), VQGANCLIPPipeline()):
        registry.register(pipeline)
    built = LocalBackend(registry, ModelCache(JanusLoader(janus_folder), "cpu"))
    yield built
    built.close()
    built.cache.close()


class SmallDevice:
    """Lets a function of a model compute so many rows at once and no more.

    Args:
        cache: has the model.
        model_id: which one.
        name: of the function, dotted where it is a part's; its first argument is the batch.
        rows: the most.
        calls: how many work all the same before the device becomes small.
    """

    def __init__(self, cache: ModelCache, model_id: str, name: str, rows: int, calls: int = 0,
                 ) -> None:
        self.rows, self._calls, self.batches = rows, calls, list[int]()
        part, _, self._name = name.rpartition(".")
        with cache.lease(model_id) as model:
            self._model = model.get_submodule(part)
        self._own = getattr(self._model, self._name)
        object.__setattr__(self._model, self._name, self._run)

    def _run(self, batch: Tensor, *others: Any) -> Any:
        self.batches.append(len(batch))
        if len(self.batches) > self._calls and len(batch) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._own(batch, *others)

    def grow(self) -> None:
        """Have room for everything again."""
        object.__setattr__(self._model, self._name, self._own)


class FullPipeline(WatchedSketch):
    """Asks the main memory for more than any machine has, as torch does it."""

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        full_cpu()
        yield from super().run(request, context)


def full_cpu() -> Tensor:
    return torch.empty(2**50, dtype=torch.uint8)


def test_a_full_main_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        full_cpu()
    assert not isinstance(caught.value, torch.OutOfMemoryError), "torch has no error of its own"
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("The size of tensor a must match"))


def test_half_a_batch_is_tried_where_the_main_memory_is_full() -> None:
    def compute(rows: Sequence[int]) -> list[int]:
        if len(rows) > 2:
            full_cpu()
        return list(rows)

    assert Batches(4).run(compute, range(4)) == [[0, 1], [2, 3]]
    with pytest.raises(RuntimeError, match="another error"):
        Batches(4).run(lambda _: (_ for _ in ()).throw(RuntimeError("another error")), range(4))


def test_a_full_main_memory_is_said_and_the_next_job_works(backend: LocalBackend) -> None:
    backend.registry.register(FullPipeline("full", "Full"))
    backend.registry.register(WatchedSketch())
    with pytest.raises(OutOfMemory, match="ran out of memory: ask for fewer"):
        list(stream(backend, {"pipeline": "full", "prompt": "a cat"}))
    assert list(stream(backend, {"pipeline": "sketch", "prompt": "a cat"}))


def request(name: str, **fields: Any) -> dict[str, Any]:
    return {"pipeline": name, "prompt": "a red apple", "seed": 5, "num_images": 4,
            "options": OPTIONS[name], **fields}


def told(backend: LocalBackend, fields: dict[str, Any],
         cancelled: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """All that a pipeline tells, step by step; a reader of the backend may miss previews."""
    asked = backend.registry.check(fields)
    context = RunContext(backend.cache, backend.cache.device, cancelled=cancelled)
    return backend.registry.get(asked.pipeline).run(asked, context)


def pictures(events: list[Event]) -> dict[int, np.ndarray]:
    """By seed, as signed numbers."""
    assert isinstance(events[-1], Result)
    return {c.seed: c.image.astype(int) for c in events[-1].candidates}


def steps_of(events: list[Event]) -> list[tuple[int, int]]:
    return [(e.step, e.total) for e in events if isinstance(e, Progress) and e.total]


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """VQGAN+CLIP computes candidates as an accelerator does, not one after the other."""
    monkeypatch.setattr(pipelines.vqgan_clip.optimise, "candidates_at_once",
                        lambda device, count: count)


@pytest.mark.usefixtures("side_by_side")
@pytest.mark.parametrize("name", list(OPTIONS))
@pytest.mark.parametrize("calls", [0, 2])
def test_half_of_the_candidates_are_drawn_at_once(backend: LocalBackend, name: str, calls: int,
                                                  ) -> None:
    whole = list(stream(backend, request(name)))
    with backend.cache.lease("embedded/" + ("clip-guide" if name == "dalle" else "dalle")):
        pass
    device = SmallDevice(backend.cache, *PLACES[name], rows=2, calls=calls)
    events = list(stream(backend, request(name)))
    assert 4 in device.batches
    assert device.batches.count(4) == calls + 1, "tried once"
    found, expected = pictures(events), pictures(whole)
    assert found.keys() == expected.keys() == {5, 6, 7, 8}
    for seed, image in found.items():
        assert np.abs(image - expected[seed]).max() <= 1
    assert isinstance(result := events[-1], Result)
    assert sorted(c.index for c in result.candidates) == [0, 1, 2, 3]
    assert all(c.seed == 5 + c.index for c in result.candidates)
    assert sum(c.scores["probability"] for c in result.candidates) == pytest.approx(1)
    assert "stopped" not in result.metadata
    idle = {m.model_id for m in backend.cache.stats().models if m.evictions}
    assert idle == {"embedded/clip-guide" if name == "dalle" else "embedded/dalle"}
    steps = steps_of(events)
    assert all(before <= after for (before, _), (after, _) in pairwise(steps))
    assert steps[-1][0] == steps[-1][1], "as many as were announced"
    assert all(e.seeds == (5, 6, 7, 8) for e in events if isinstance(e, Preview))
    device.grow()
    assert pictures(list(stream(backend, request(name)))).keys() == expected.keys()


def test_steps_and_previews_count_the_attempt_and_both_groups(backend: LocalBackend) -> None:
    # As many things as there can be: each picture takes as many steps.
    fields = request("dalle", options={**OPTIONS["dalle"], "places": "; ".join(["0 0 3"] * 5)})
    whole = list(told(backend, fields))
    device = SmallDevice(backend.cache, *PLACES["dalle"], rows=2, calls=5)
    events = list(told(backend, fields))
    assert [e.message for e in events if isinstance(e, Progress) and "full" in e.message] == \
        ["The device was full: drawing at most 2 at a time."]
    each = len(device.batches[6:]) // 2
    counted = list(dict.fromkeys(steps_of(events)))
    assert counted == [(step, each) for step in range(1, 6)] + \
        [(step, 5 + 2 * each) for step in range(5, 5 + 2 * each + 1)]
    first, second = ([e for e in events if isinstance(e, Preview) and low < e.step <= low + each]
                     for low in (5, 5 + each))
    like = {e.step: e.images for e in whole if isinstance(e, Preview)}
    assert len(first) == len(second) == len(like)
    for preview in first:
        assert np.abs(preview.images[:2] - like[preview.step - 5][:2].astype(int)).max() <= 1
        assert (preview.images[2:] == GREY).all()
    finished = pictures(events)
    for preview in second:
        now = like[preview.step - 5 - each].astype(int)
        assert np.abs(preview.images[2:] - now[2:]).max() <= 1
        assert np.abs(preview.images[0] - finished[5].astype(int)).max() <= 1


def test_a_run_that_is_stopped_between_groups_keeps_the_first(backend: LocalBackend) -> None:
    SmallDevice(backend.cache, *PLACES["dalle"], rows=2)
    events, stopped = list[Event](), threading.Event()
    for event in told(backend, request("dalle"), stopped.is_set):
        events.append(event)
        if isinstance(event, Preview) and (event.images[3] != GREY).any():
            stopped.set()
    assert isinstance(result := events[-1], Result)
    assert result.metadata["stopped"]
    assert {5, 6} <= pictures(events).keys()


@pytest.mark.parametrize("name", list(OPTIONS))
def test_one_sentence_where_one_picture_is_too_much(backend: LocalBackend, name: str) -> None:
    device = SmallDevice(backend.cache, *PLACES[name], rows=0)
    with pytest.raises(OutOfMemory, match=r"^The device has no memory left for .*: ask for fewer "
                                          r"or smaller ones, or choose a smaller model\.$"):
        list(stream(backend, request(name)))
    with pytest.raises(OutOfMemory, match="for a single picture"):
        list(stream(backend, request(name, num_images=1)))
    assert not any(m.leases for m in backend.cache.stats().models)
    device.grow()
    assert pictures(list(stream(backend, request(name)))).keys() == {5, 6, 7, 8}


def test_fewer_cutouts_are_seen_at_once_where_one_picture_is_too_much(backend: LocalBackend,
                                                                      ) -> None:
    options = {"iterations": 2, "num_cutouts": 64, "precision": "float32"}
    fields = request("vqgan_clip", num_images=1, options=options)
    whole = pictures(list(stream(backend, fields)))
    device = SmallDevice(backend.cache, *PLACES["vqgan_clip"], rows=8)
    events = list(told(backend, fields))
    assert device.batches == [64, 32, 16, 8, *[8] * 15]
    assert steps_of(events)[-1] == (2, 2)
    assert {e.message for e in events if isinstance(e, Progress) and e.step == 1} == {
        "The device was full: seeing at most 8 cutouts at a time."}
    found = pictures(events)
    assert np.abs(found[5] - whole[5]).mean() < 1, "the same but for rounding"


def test_pictures_are_enlarged_in_smaller_batches(backend: LocalBackend) -> None:
    whole = pictures(list(stream(backend, request("vqgan_clip"))))
    device = SmallDevice(backend.cache, "embedded/upscaler", "forward", rows=2)
    found = pictures(list(stream(backend, request("vqgan_clip"))))
    assert device.batches == [4, 2, 2]
    assert all(np.abs(found[seed] - image).max() <= 1 for seed, image in whole.items())


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_janus_writes_fewer_at_once_where_the_pictures_are_too_much(
        backend: LocalBackend, guidance_scale: float) -> None:
    """All tokens are written, and their decoder has no room: none of the pictures is lost."""
    fields = request("janus", options={**OPTIONS["janus"], "guidance_scale": guidance_scale,
                                       "preview_every": GRID * GRID})
    whole = pictures(list(stream(backend, fields)))
    device = SmallDevice(backend.cache, JANUS, "vqmodel.decode", rows=2)
    events = list(stream(backend, fields))
    assert device.batches == [4, 2, 2]
    found = pictures(events)
    assert found.keys() == whole.keys() == {5, 6, 7, 8}
    assert all(np.abs(found[seed] - image).max() <= 1 for seed, image in whole.items())
    assert steps_of(events)[-1] == (3 * GRID * GRID, 3 * GRID * GRID)


def test_janus_holds_no_keys_and_values_of_an_attempt_that_was_too_much(
        backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    SmallDevice(backend.cache, *PLACES["janus"], rows=4, calls=5)  # two rows a picture
    streams: list[weakref.ref[Any]] = []
    alive: list[int] = []
    with backend.cache.lease(JANUS) as model:
        own = model.begin

    def begin(*asked: Any) -> Any:
        alive.append(sum(stream() is not None for stream in streams))
        state = own(*asked)
        streams.append(weakref.ref(state.cache))
        return state

    monkeypatch.setattr(model, "begin", begin)
    fields = request("janus", options={**OPTIONS["janus"], "guidance_scale": 5.0})
    gc.disable()  # what only the collector would free is held while the device is full
    try:
        found = pictures(list(stream(backend, fields)))
    finally:
        gc.enable()
    assert found.keys() == {5, 6, 7, 8}
    assert alive == [0, 0, 0]


def test_one_picture_is_tried_again_where_others_made_way() -> None:
    def limited(times: int) -> Callable[[Any], int]:
        left = [times]

        def compute(batch: Any) -> int:
            left[0] -= 1
            if left[0] >= 0:
                raise torch.OutOfMemoryError("full")
            return len(batch)

        return compute

    assert Batches(1, lambda: 9).run(limited(1), [7]) == [1]
    with pytest.raises(OutOfMemory, match="a single picture"):
        Batches(1, lambda: 9).run(limited(2), [7])
    with pytest.raises(OutOfMemory, match="a single picture"):
        Batches(1).run(limited(1), [7])
