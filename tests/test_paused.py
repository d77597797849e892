"""Runs that were paused go on with the same bits: at once, after a restart, after a crash."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core.errors import PausedRunError
from pipelines.core.events import Preview
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.pipeline import RunContext
from pipelines.vqgan_clip.cutouts import Cutouts
from pipelines.vqgan_clip.descent import Descent, Optimiser
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from pipelines.weighted_prompts import WeightedPrompt
from tests.paused_server import FEW, ME, Server, cache, curve_of, result_of, same, server
from tests.test_vqgan_clip import picture

__all__ = ["cache", "server"]


@pytest.mark.parametrize("optimiser", ["normalised", "adam", "adamw", "radam", "rmsprop", "sgd"])
def test_a_painting_goes_on_with_the_same_bits(cache: ModelCache, optimiser: Optimiser) -> None:
    with cache.lease("embedded/vqgan") as vqgan, cache.lease("embedded/clip-guide") as clip:
        def optimisation() -> Optimisation:
            generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
            drawer = VQGANDrawer(vqgan, precision="float32")
            start = start_parameters(drawer, "noise", None, (32, 32), generators)
            descent = Descent(start, drawer, optimiser, 0.1, "cosine", 0.5)
            guides = [Guide(clip, [WeightedPrompt("a cat")])]
            return Optimisation(drawer, guides, descent, generators, Cutouts(num_cutouts=4),
                                precision="float32")

        def taken(painted: Optimisation, first: int, last: int) -> Optimisation:
            for step in range(first, last + 1):
                painted.step(step, 6, lambda: False)
            return painted

        whole = taken(optimisation(), 1, 6)
        for pause in (1, 4):  # on a coarse grid and on the fine one
            later = optimisation()
            later.restore(pause, *taken(optimisation(), 1, pause).state())
            taken(later, pause + 1, 6)
            assert whole.best_pixels is not None
            assert later.best_pixels is not None
            assert torch.equal(later.descent.change, whole.descent.change)
            assert torch.equal(later.best_pixels, whole.best_pixels)
            assert later.facts(1) == whole.facts(1)
        with pytest.raises(ValueError, match="shape"):
            later.restore(1, {**whole.state()[0], "start": torch.zeros(2, 3, 4, 4)}, {})


def test_a_run_goes_on_with_the_same_bits_after_a_restart(server: Server) -> None:
    options = {"optimiser": "adam", "num_cutouts": 2, "augmentations": "light"}
    fields: dict[str, Any] = {"num_images": 2, "options": FEW | options}
    whole = server.drawn(**fields)
    run_id = server.paused_at(3, **fields)
    (waiting,) = server.again().runs.of(ME)
    assert (waiting.run_id, waiting.step, waiting.total, waiting.interrupted) == (
        run_id, 3, 5, False)
    assert waiting.frame is not None
    later = server.again()
    events = later.resume(run_id)
    assert same(events, whole)
    assert curve_of(events) == curve_of(whole)
    assert "changes" not in result_of(events).metadata
    assert later.runs.of(ME) == []
    assert not list(server.folder.glob("*/*")), "nothing is left behind"
    later.backend.close()


def test_what_was_paused_is_seen_at_once(server: Server) -> None:
    """As the pipeline tells it: a reader of the backend may find a newer preview."""
    run_id = server.paused_at(3)
    going_on = server.runs.resume(ME, run_id, server.backend.registry)
    context = RunContext(server.cache, server.cache.device, checkpointer=going_on)
    assert going_on.request is not None
    events = server.backend.registry.get("vqgan_clip").run(going_on.request, context)
    assert next(event.step for event in events if isinstance(event, Preview)) == 3
    going_on.release()


@pytest.mark.weights("vqgan", "clip-guide", "clip-ranker", "upscaler")
def test_the_embedded_models_go_on_with_the_same_bits(tmp_path: Path) -> None:
    with closing(ModelCache(CatalogueLoader(Catalogue.load()), "cpu")) as trained:
        server = Server(tmp_path / "paused", trained)
        fields: dict[str, Any] = {"options": {"iterations": 4}}
        whole = server.drawn(**fields)
        run_id = server.paused_at(2, **fields)
        later = server.again()
        events = later.resume(run_id)
        assert same(events, whole)
        assert all(result_of(events).metadata["weights"].values())
        assert result_of(events).metadata["weights"] == result_of(whole).metadata["weights"]
        later.backend.close()


KILLED = """
import sys
from pathlib import Path
import pipelines.checkpointer as checkpointer
from tests.small_models import small_cache
from tests.paused_server import FIELDS, ME, Server
from tests.asking import stream
checkpointer.SAVE_EVERY_S = checkpointer.SAVE_SHARE = 0.0
server = Server(Path(sys.argv[1]), small_cache())
for event in stream(server.backend, FIELDS | {"options": FIELDS["options"] | {"iterations": 900}},
                                   owner=ME):
    print(event.step, flush=True)
"""


@pytest.mark.slow
def test_a_killed_server_loses_next_to_nothing(server: Server, repository: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(server.folder)],
                               cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    steps = (int(line) for line in process.stdout)
    next(step for step in steps if step >= 3)
    assert server.runs.of(ME) == [], "a run that is under way is not a paused one"
    with pytest.raises(PausedRunError, match="on its way already"):
        server.resume(server.run_id())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 300
    while not server.runs.of(ME):  # until the lease has run out
        assert time.monotonic() < end
        time.sleep(0.1)
    (left,) = server.runs.of(ME)
    assert left.interrupted
    assert left.step >= 2
    events = server.resume(left.run_id, iterations=left.step + 2)
    assert [step for step, _ in curve_of(events)] == list(range(1, left.step + 3))
    assert server.runs.of(ME) == []


def test_a_run_from_a_picture_goes_on_with_it(server: Server) -> None:
    fields = {"init_image": picture("red"), "options": FEW | {"init_weight": 1.0}}
    whole = server.drawn(**fields)
    assert same(server.resume(server.paused_at(2, **fields)), whole)
