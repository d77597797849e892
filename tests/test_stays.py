"""What a prompt passes through, from the click on Generate to the generator that draws it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from easel.serving.jobs import Job
from pipelines.dalle import DallePipeline
from pipelines.pipeline import Pipeline
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.test_task import ANNA, visitor

MOST = 8  # places where an event rests or is handed on, of threads and of what is between them
SESSION = "one"
WAIT = threading.Condition.wait.__code__
GENERATORS = [DallePipeline, UnclipPipeline, VQGANCLIPPipeline]


def stack(frame: FrameType | None, root: Path) -> list[str]:
    """The functions of Easel in a stack, the outermost first."""
    names: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(root / "easel") or path.is_relative_to(root / "pipelines"):
            names.insert(0, frame.f_code.co_qualname)
        frame = frame.f_back
    return names


class Held:
    """Holds the device's thread where the generator asks whether it is to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.device: list[str] = []
        self.draws, self.go_on = threading.Event(), threading.Event()
        cancelled = Job.cancelled

        def ask(job: Job) -> bool:
            names = stack(sys._getframe(1), root)
            draw = next((name for name in names if name.endswith("Pipeline.draw")), None)
            if draw is not None and not self.draws.is_set():
                self.device = names[:names.index(draw)]
                self.draws.set()
                self.go_on.wait(60)
            return cancelled(job)

        monkeypatch.setattr(Job, "cancelled", ask)


def waiting(where: str, root: Path, thread: threading.Thread | None = None) -> list[str]:
    """The functions of Easel in a thread's stack, any thread's where None, once the innermost waits
    for what comes next."""
    end_s, found = time.monotonic() + 60, list[list[str]]()
    while time.monotonic() < end_s:
        found = [stack(frame, root) for ident, frame in sys._current_frames().items()
                 if frame.f_code is WAIT and (thread is None or ident == thread.ident)]
        for names in found:
            if names[-1:] == [where]:
                return names
        time.sleep(0.01)
    raise AssertionError(f"{where} waits for nothing: {found}")


@pytest.fixture
def app(pipeline: type[Pipeline]) -> Iterator[App]:
    served = App([pipeline()])
    yield served
    served.close()


@pytest.mark.weights
@pytest.mark.parametrize("pipeline", GENERATORS)
def test_a_prompt_stays_at_few_places_between_the_click_and_the_generator(
        app: App, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-offs count too: what the run's thread shows its page, and what the device's tells it."""
    blocks: Any = app.page.blocks
    click: Any = next(fn for fn in app.page.fns.values() for target, event in fn.targets
                      if event == "click" and blocks[target].elem_id == "generate")
    values = {component: component.value for component in click.inputs}
    held, shown = Held(monkeypatch, repository), []
    clicked = threading.Thread(target=lambda: shown.extend(click.fn(values, visitor(SESSION))))
    clicked.start()
    try:
        assert held.draws.wait(120)
        [run] = [each for each in threading.enumerate() if each.name == "generate run"]
        stays = [*waiting("Follower.updates", repository, clicked), "LiveRun",
                 *waiting("read_events", repository, run), "Job", *held.device]
    finally:
        app.playground.runs.stop(SESSION, ANNA)
        held.go_on.set()
        clicked.join(120)
    assert len(stays) <= MOST, stays
    architecture = (repository / "ARCHITECTURE.md").read_text("utf-8")
    assert [name for name in stays if f"`{name}`" not in architecture] == [], "the map is old"
    assert shown, "the page was told of the run"
    app.wait_until_idle()


@pytest.mark.weights
@pytest.mark.parametrize("pipeline", GENERATORS)
def test_a_call_of_generate_stays_at_no_more_places(
        app: App, pipeline: type[Pipeline], repository: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's call is read in the thread that Gradio gives it."""
    held = Held(monkeypatch, repository)
    job = app.client().submit("a red apple", [pipeline.name], 1, 7, api_name="/generate")
    try:
        assert held.draws.wait(120)
        stays = [*waiting("read_events", repository), "Job", *held.device]
    finally:
        held.go_on.set()  # first: cancelling waits for the run's next word
        job.cancel()
    assert len(stays) <= MOST, stays
    architecture = (repository / "ARCHITECTURE.md").read_text("utf-8")
    assert f"an event is at {len(stays)} of a call of\n`/generate`" in architecture, stays
    app.wait_until_idle()
