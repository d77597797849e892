"""Runs that are paused: the same bits after a restart, changes, branches, limits, damaged files."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from pipelines.checkpoints.catalogue import Catalogue
from pipelines.cutouts import Cutouts
from pipelines.errors import Busy, EaselError, InvalidRequest, Paused, PausedRunError
from pipelines.events import Event, Preview, Progress, Result
from pipelines.guided import Guide, Painting
from pipelines.latents import Latents, Optimiser, start_latents
from pipelines.model_cache import ModelCache
from pipelines.prompts import WeightedPrompt
from pipelines.registry import Registry, RunContext
from pipelines.snapshot import Change
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.weights import CatalogueLoader
from serving.backend import LocalBackend
from serving.best_of import stream_best
from serving.paused_runs import PausedRuns
from tests.sketch import SketchPipeline
from tests.small_models import small_cache
from tests.test_vqgan_clip import picture

FEW = {"num_cutouts": 1, "iterations": 5, "precision": "float32", "preview_every": 2}
FIELDS = {"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 5, "num_images": 1,
          "options": FEW}
LIVELY = FEW | {"num_cutouts": 2, "augmentations": "strong"}  # random numbers in each step
ME = "me"


def registry() -> Registry:
    found = Registry()
    found.register(VQGANCLIPPipeline())
    found.register(SketchPipeline())
    return found


class Server:
    """A backend with a folder of paused runs; ``again`` is what a restart leaves of it."""

    def __init__(self, folder: Path, cache: ModelCache, **limits: Any) -> None:
        self.folder, self.cache, self.limits = folder, cache, limits
        self.runs = PausedRuns(folder, **limits)
        self.backend = LocalBackend(registry(), cache, paused=self.runs)

    def again(self) -> Server:
        self.backend.close()
        return Server(self.folder, self.cache, **self.limits)

    def drawn(self, **fields: Any) -> list[Event]:
        return list(self.backend.stream({**FIELDS, **fields}, owner=ME))

    def paused_at(self, step: int, owner: str = ME, **fields: Any) -> str:
        """Run until it is paused by itself; the run's name."""
        with pytest.raises(Paused) as caught:
            list(self.backend.stream({**FIELDS, **fields}, owner=owner, pause_after=step))
        assert caught.value.step == step
        return caught.value.run_id

    def go_on(self, run_id: str, branch: bool = False, owner: str = ME, **change: Any,
              ) -> list[Event]:
        continuation = self.runs.go_on(owner, run_id, self.backend.registry,
                                       Change.checked(**change), branch)
        return list(self.backend.go_on(continuation))

    def file(self) -> Path:
        (path,) = self.folder.glob("*/*.safetensors")
        return path


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


@pytest.fixture
def server(tmp_path: Path, cache: ModelCache) -> Iterator[Server]:
    made = Server(tmp_path / "paused", cache)
    yield made
    made.backend.close()


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def images_of(events: list[Event]) -> list[np.ndarray]:
    return [candidate.image for candidate in result_of(events).candidates]


def same(one: list[Event], other: list[Event]) -> bool:
    """Whether two runs ended with the same pictures, bit for bit, in the same order."""
    return all(a.seed == b.seed and a.metadata == b.metadata and np.array_equal(a.image, b.image)
               for a, b in zip(result_of(one).candidates, result_of(other).candidates, strict=True))


def pausing(server: Server, events: Iterable[Event]) -> None:
    """Follow the run named "job", and pause it after a step."""
    for event in events:
        if isinstance(event, Progress) and event.losses:
            server.backend.pause("job")


def curve_of(events: list[Event]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for event in events:
        if isinstance(event, Progress):
            found += event.earlier.losses.get("loss", ()) if event.earlier else ()
            if "loss" in event.losses:
                found.append((event.step, event.losses["loss"]))
    return found


# The same bits ---------------------------------------------------------------------------------

@pytest.mark.parametrize("optimiser", ["normalised", "adam", "adamw", "radam", "rmsprop", "sgd"])
def test_a_painting_goes_on_with_the_same_bits(cache: ModelCache, optimiser: Optimiser) -> None:
    with cache.lease("embedded/vqgan") as vqgan, cache.lease("embedded/clip-guide") as clip:
        def painting() -> Painting:
            generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
            latents = Latents(start_latents(vqgan, "noise", None, 32, generators), vqgan,
                              optimiser, 0.1, "cosine", 0.5)
            return Painting(vqgan, Guide(clip, [WeightedPrompt("a cat")]), latents, generators,
                            Cutouts(num_cutouts=4), precision="float32")

        def taken(painted: Painting, first: int, last: int) -> Painting:
            for step in range(first, last + 1):
                painted.step(step, 6, lambda: False)
            return painted

        whole = taken(painting(), 1, 6)
        for pause in (1, 4):  # on a coarse grid and on the fine one
            later = painting()
            later.restore(pause, *taken(painting(), 1, pause).state())
            taken(later, pause + 1, 6)
            assert whole.best_pixels is not None
            assert later.best_pixels is not None
            assert torch.equal(later.latents.change, whole.latents.change)
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
    events = later.go_on(run_id)
    assert same(events, whole)
    assert curve_of(events) == curve_of(whole)
    assert "changes" not in result_of(events).metadata
    assert later.runs.of(ME) == []
    assert not list(server.folder.glob("*/*")), "nothing is left behind"
    later.backend.close()


def test_what_was_paused_is_seen_at_once(server: Server) -> None:
    """As the pipeline tells it: a reader of the backend may find a newer preview."""
    run_id = server.paused_at(3)
    going_on = server.runs.go_on(ME, run_id, server.backend.registry)
    context = RunContext(server.cache, server.cache.device, keeper=going_on.keeper)
    events = server.backend.registry.get("vqgan_clip").run(going_on.request, context)
    assert next(event.step for event in events if isinstance(event, Preview)) == 3
    going_on.keeper.release()


@pytest.mark.weights("vqgan", "clip-guide", "clip-ranker", "upscaler")
def test_the_embedded_models_go_on_with_the_same_bits(tmp_path: Path) -> None:
    with closing(ModelCache(CatalogueLoader(Catalogue.load()), "cpu")) as trained:
        server = Server(tmp_path, trained)
        fields: dict[str, Any] = {"options": {"iterations": 4}}
        whole = server.drawn(**fields)
        run_id = server.paused_at(2, **fields)
        later = server.again()
        events = later.go_on(run_id)
        assert same(events, whole)
        assert all(result_of(events).metadata["weights"].values())
        assert result_of(events).metadata["weights"] == result_of(whole).metadata["weights"]
        later.backend.close()


KILLED = """
import sys
from pathlib import Path
import serving.paused_runs as paused_runs
from tests.small_models import small_cache
from tests.test_paused import FIELDS, ME, Server
paused_runs.SAVE_EVERY_S = 0.0
server = Server(Path(sys.argv[1]), small_cache())
for event in server.backend.stream(FIELDS | {"options": FIELDS["options"] | {"iterations": 900}},
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
        server.go_on(server.file().stem)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = server.runs.of(ME)
    assert left.interrupted
    assert left.step >= 2
    events = server.go_on(left.run_id, iterations=left.step + 2)
    assert [step for step, _ in curve_of(events)] == list(range(1, left.step + 3))
    assert server.runs.of(ME) == []


# Changes and branches --------------------------------------------------------------------------

def test_the_prompt_changes_in_the_middle(server: Server) -> None:
    whole = server.drawn()
    run_id = server.paused_at(2)
    events = server.go_on(run_id, prompt="a blue car:2 | a worm:-1")
    change = {"step": 2, "prompt_before": "a red apple", "prompt": "a blue car:2 | a worm:-1"}
    result = result_of(events)
    assert result.metadata["changes"] == [change]
    assert result.metadata["prompt"] == "a blue car:2 | a worm:-1"
    assert curve_of(events)[:2] == curve_of(whole)[:2]
    assert curve_of(events)[2:] != curve_of(whole)[2:]
    (earlier,) = [e.earlier for e in events if isinstance(e, Progress) and e.earlier]
    assert [mark.step for mark in earlier.marks] == [2]
    # Losses of two prompts do not compare: the best is one of the new prompt's.
    assert result.candidates[0].metadata["best_step"] > 2


def test_weights_alone_are_a_change_too(server: Server) -> None:
    whole, run_id = server.drawn(), server.paused_at(2)
    heavier = server.go_on(run_id, prompt="a red apple:3")
    assert curve_of(heavier)[2][1] == pytest.approx(3 * curve_of(whole)[2][1])


def test_a_branch_leaves_the_run_as_it_was(server: Server) -> None:
    whole = server.drawn(options=LIVELY)
    run_id = server.paused_at(2, options=LIVELY)
    blue, again = (server.go_on(run_id, True, prompt="a blue car", iterations=4)
                   for _ in range(2))
    assert same(blue, again)
    assert not np.array_equal(images_of(blue)[0], images_of(whole)[0])
    assert result_of(blue).metadata["changes"][0]["branch_of"] == run_id
    for other in (server.go_on(run_id, True, seed=9), server.go_on(run_id, True, noise=0.3)):
        assert curve_of(other)[2] != curve_of(whole)[2]
    with pytest.raises(InvalidRequest, match="A branch needs a change"):
        server.go_on(run_id, True)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]
    assert same(server.go_on(run_id), whole)


def test_more_steps_are_taken_than_were_asked_for(server: Server) -> None:
    run_id = server.paused_at(4)
    with pytest.raises(InvalidRequest, match="has taken 4 steps already"):
        server.go_on(run_id, iterations=4)
    with pytest.raises(InvalidRequest, match="between 1 and 1000"):
        server.go_on(run_id, iterations=10**6)
    continuation = server.runs.go_on(ME, run_id, server.backend.registry, Change(iterations=40))
    before = continuation.keeper.start
    assert before is not None
    with pytest.raises(Paused) as caught:
        pausing(server, server.backend.go_on(continuation, "job"))
    assert caught.value.total == 40
    with safe_open(server.file(), framework="pt") as file:
        # The first tenth of 40 steps is coarser than what there was.
        assert file.get_tensor("change").shape == before.tensors["change"].shape
    result = result_of(server.go_on(run_id, iterations=caught.value.step + 1))
    assert [change["iterations"] for change in result.metadata["changes"]] == [
        40, caught.value.step + 1]


@pytest.mark.parametrize(("values", "says"), [
    ({"noise": float("nan")}, "Noise must be a number between 0 and 1"),
    ({"noise": True}, "Noise must be"), ({"noise": -1}, "Noise must be"),
    ({"seed": -1}, "Seed must be between"), ({"seed": 2**32}, "Seed must be between"),
    ({"seed": "x"}, "Seed must be a whole number"), ({"seed": float("inf")}, "Seed must be"),
    ({"iterations": 2.5}, "Iterations must be a whole number"),
    ({"iterations": []}, "Iterations must be"), ({"prompt": 7}, "The prompt must be text"),
])
def test_changes_that_make_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        Change.checked(**values)


def test_a_prompt_from_here_on_is_checked_as_any_other(server: Server) -> None:
    run_id = server.paused_at(1)
    for prompt in ("cat:1000", "cat | | dog", "\0", "x" * 501):
        with pytest.raises(InvalidRequest):
            server.go_on(run_id, prompt=prompt)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]


# Pause, Stop and the end of the server ---------------------------------------------------------

def following(server: Server, act: Callable[[], object], **fields: Any) -> list[Event]:
    """Act once after the first step of a long run named "job"."""
    options = FEW | {"iterations": 500} | fields.pop("options", {})
    events: list[Event] = []
    for event in server.backend.stream({**FIELDS, "options": options, **fields}, "job", ME):
        if isinstance(event, Progress) and event.step == 1 and event.losses:
            act()
        events.append(event)
    return events


def test_pause_acts_within_a_step(server: Server) -> None:
    asked: list[int] = []

    def pause() -> None:
        job = server.backend._jobs["job"]
        server.backend.pause("job")
        asked.append(job.progress.step)

    with pytest.raises(Paused) as caught:
        following(server, pause, num_images=2)
    assert 1 <= caught.value.step <= asked[0] + 1 < 500
    end = caught.value.step + 1
    # The schedule depends on the number of all steps, so the other run has its 500 until there.
    run_id = server.paused_at(end - 1, num_images=2, options=FEW | {"iterations": 500})
    assert same(server.go_on(caught.value.run_id, iterations=end),
                server.go_on(run_id, iterations=end))


def test_stop_wins_over_pause(server: Server) -> None:
    def pause_and_stop() -> None:
        server.backend.pause("job")
        server.backend.cancel("job")

    events = following(server, pause_and_stop)
    assert result_of(events).metadata["stopped"]
    assert server.runs.of(ME) == []


def test_a_stopped_run_leaves_no_state(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.paused_runs.SAVE_EVERY_S", 0.0)
    seen: list[bool] = []

    def stop() -> None:
        end = time.monotonic() + 20
        while not list(server.folder.glob("*/*.safetensors")) and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(bool(list(server.folder.glob("*/*.safetensors"))))
        server.backend.cancel("job")

    assert result_of(following(server, stop)).metadata["stopped"]
    assert seen == [True], "it was kept while it ran"
    assert not list(server.folder.glob("*/*"))


def test_a_server_that_ends_pauses_what_runs(server: Server) -> None:
    with pytest.raises(Paused) as caught:
        following(server, server.backend.close)
    (waiting,) = server.again().runs.of(ME)
    assert waiting.run_id == caught.value.run_id


def test_a_run_that_goes_on_and_is_refused_stays(server: Server) -> None:
    run_id = server.paused_at(1)
    server.backend.close()
    with pytest.raises(Busy):
        server.go_on(run_id)
    later = server.again()
    assert [run.run_id for run in later.runs.of(ME)] == [run_id]
    assert result_of(later.go_on(run_id))
    later.backend.close()


def test_other_runs_cannot_be_paused(server: Server) -> None:
    with pytest.raises(InvalidRequest, match="cannot be paused"):
        list(server.backend.stream({"pipeline": "sketch", "prompt": "a cat"}, pause_after=1))
    events = stream_best(server.backend, server.backend.registry, FIELDS, 2, "job", ME)
    with closing(events), pytest.raises(InvalidRequest, match="cannot be paused"):
        pausing(server, events)
    assert server.backend.pause("nobody") is False


def test_no_room_to_pause_ends_no_run(server: Server) -> None:
    server.folder.parent.mkdir(exist_ok=True)
    server.folder.write_text("a file where a folder should be")
    events = list(server.backend.stream(FIELDS, owner=ME, pause_after=2))
    assert len(curve_of(events)) == 5
    messages = {e.message for e in events if isinstance(e, Progress) and e.losses and e.message}
    (message,) = messages
    assert message.startswith("The run could not be paused: ")


# Whose they are, and how many --------------------------------------------------------------------

def test_visitors_see_their_own_only(server: Server) -> None:
    run_id = server.paused_at(1)
    assert server.runs.of("you") == []
    for act in (lambda: server.go_on(run_id, owner="you"),
                lambda: server.runs.delete("you", run_id),
                lambda: server.runs.delete(ME, "../../etc/passwd"),
                lambda: server.go_on(f"../{server.file().parent.name}/{run_id}", owner=ME),
                lambda: server.runs.delete(ME, "")):
        with pytest.raises(PausedRunError, match="There is no such paused run"):
            act()
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []
    assert not list(server.folder.glob("*/*"))


def test_a_visitor_has_only_so_many(tmp_path: Path, cache: ModelCache) -> None:
    server = Server(tmp_path, cache, max_per_owner=1)
    run_id = server.paused_at(1)
    with pytest.raises(PausedRunError, match="1 runs of yours are paused"):
        server.paused_at(1)
    server.paused_at(1, owner="you")
    # The run itself is no further one.
    continuation = server.runs.go_on(ME, run_id, server.backend.registry, pause_after=2)
    with pytest.raises(Paused):
        list(server.backend.go_on(continuation))
    server.backend.close()


def test_all_together_take_only_so_much(tmp_path: Path, cache: ModelCache) -> None:
    server = Server(tmp_path, cache, quota_bytes=1000)
    events = list(server.backend.stream(FIELDS, owner=ME, pause_after=2))
    assert any(isinstance(e, Progress) and "take all the room" in e.message for e in events)
    assert result_of(events)
    server.backend.close()


def test_what_waits_for_too_long_is_removed(server: Server) -> None:
    server.paused_at(1)
    assert server.runs.sweep() == 0
    assert server.runs.sweep(max_age_s=-1) == 1
    assert server.runs.of(ME) == []


# Files that are not as they should be -----------------------------------------------------------

@pytest.fixture(scope="module")
def whole_file(cache: ModelCache, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = Server(tmp_path_factory.mktemp("whole"), cache)
    made.paused_at(1)
    made.backend.close()
    return made.file().read_bytes()


def rewritten(data: bytes, text: str, by: str) -> bytes:
    """The file with its header changed by somebody who did not change the hash."""
    tensors = load(data)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8:8 + length])["__metadata__"]
    assert any(text in value for value in metadata.values())
    return save(tensors, {name: value.replace(text, by) for name, value in metadata.items()})


@pytest.mark.parametrize("damage", [
    lambda data: data[: len(data) // 2],
    lambda data: b"",
    lambda data: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:],
    lambda data: rewritten(data, "a red apple", "a red appla"),
    lambda data: pickle.dumps({"step": 1}),
    lambda data: save({"change": torch.zeros(2)}),
    lambda data: b"\xff" * 8 + data[8:],
], ids=["truncated", "empty", "one bit", "prompt", "pickle", "foreign", "length"])
def test_a_damaged_file_is_refused_in_a_sentence(server: Server, whole_file: bytes,
                                                 damage: Callable[[bytes], bytes]) -> None:
    run_id = "0123456789abcdef" * 2
    path = server.runs.path(ME, run_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(whole_file))
    with pytest.raises(PausedRunError, match="damaged"):
        server.go_on(run_id)
    (listed,) = server.runs.of(ME)
    assert listed.run_id == run_id
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []


def test_a_file_of_another_version_is_refused(server: Server,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.snapshot.FORMAT", 2)
    run_id = server.paused_at(1)
    monkeypatch.undo()
    with pytest.raises(PausedRunError, match="another version of Easel"):
        server.go_on(run_id)
    assert "another version" in server.runs.of(ME)[0].fault


def test_a_state_of_other_weights_is_refused(server: Server,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    loader = server.cache.loader
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "a" * 64)
    run_id = server.paused_at(1)
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "b" * 64)
    with pytest.raises(PausedRunError, match="other weights of embedded/"):
        server.go_on(run_id)
    assert [run.run_id for run in server.runs.of(ME)] == [run_id], "it may go on elsewhere"
    monkeypatch.setattr(loader, "fingerprint", lambda model_id: "a" * 64)
    assert result_of(server.go_on(run_id))


def test_a_generator_that_is_gone_is_named(server: Server) -> None:
    run_id = server.paused_at(1)
    bare = Registry()
    bare.register(SketchPipeline())
    with pytest.raises(EaselError, match="no generator called 'vqgan_clip'"):
        server.runs.go_on(ME, run_id, bare)
    assert result_of(server.go_on(run_id)), "it was given back"


def test_a_run_from_a_picture_goes_on_with_it(server: Server) -> None:
    fields = {"init_image": picture("red"), "options": FEW | {"init_weight": 1.0}}
    whole = server.drawn(**fields)
    assert same(server.go_on(server.paused_at(2, **fields)), whole)
