"""Best of N: each picture as it would be drawn alone, the best of all kept, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from easel.cli.compare import parse_pane
from easel.cli.main import main
from easel.compare.bundle import read_zip
from easel.serving.backend import LocalBackend
from easel.serving.best_of import stream_best
from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.metadata import read_png
from pipelines.registry import Registry
from tests.asking import stream
from tests.bundle_folder import read_folder
from tests.noise import linear_cache
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch


def sketch_backend(cache: Any = None) -> LocalBackend:
    registry = Registry()
    registry.register(WatchedSketch())
    return LocalBackend(registry, cache or linear_cache())


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    made = sketch_backend()
    yield made
    made.close()


def request(**options: Any) -> dict[str, Any]:
    return {"pipeline": "sketch", "prompt": "a cat", "num_images": 3, "seed": 100,
            "options": {"steps": 2, "pause_s": 0.0, **options}}


def best(backend: LocalBackend, drawn: Any, fields: dict[str, Any] | None = None) -> list[Event]:
    return list(stream_best(backend, backend.registry.check(fields or request()), drawn, "job"))


def test_the_best_of_all_parts_are_kept(backend: LocalBackend) -> None:
    every = []
    for first in range(100, 140):
        fields = {**request(), "seed": first, "num_images": 1}
        every += next(e for e in stream(backend, fields) if isinstance(e, Result)).candidates
    expected = sorted(every, key=lambda c: -c.scores["clip"])[:3]
    events = best(backend, 40)
    result = events[-1]
    assert isinstance(result, Result)
    assert [c.seed for c in result.candidates] == [c.seed for c in expected]
    assert [c.index for c in result.candidates] == [c.seed - 100 for c in expected]
    assert all(np.array_equal(a.image, b.image)
               for a, b in zip(result.candidates, expected, strict=True))
    left_out = sorted(every, key=lambda c: -c.scores["clip"])[3:]
    assert [c.seed for c in result.rejected] == [c.seed for c in left_out]
    assert result.metadata["best_of"] == 40
    assert result.metadata["num_images"] == 3
    assert "stopped" not in result.metadata
    steps = [e.step for e in events if isinstance(e, Progress) and e.step and not e.message]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {e.total for e in events if isinstance(e, Progress) and e.step} == {6}
    assert all(len(e.images) == 3 for e in events if isinstance(e, Preview))


def test_as_many_as_are_kept_is_a_plain_run(backend: LocalBackend) -> None:
    result = best(backend, 3)[-1]
    assert isinstance(result, Result)
    assert "best_of" not in result.metadata
    assert "probability" in result.candidates[0].scores


@pytest.mark.parametrize("drawn", [2, 0, -1, 129, 3.5, "many", None, True, float("nan"),
                                   float("inf")])
def test_wrong_numbers_are_refused(backend: LocalBackend, drawn: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"whole number between 3 and 128\.$"):
        best(backend, drawn)


def test_stop_keeps_the_best_so_far(backend: LocalBackend) -> None:
    checked = backend.registry.check(request(steps=40, pause_s=0.1))
    stream = stream_best(backend, checked, 40, "job")
    seen = []
    for event in stream:
        seen.append(event)
        if isinstance(event, Progress) and event.step == 45:  # in the second part of three
            assert backend.cancel("job")
    result = seen[-1]
    assert isinstance(result, Result)
    assert result.metadata["stopped"] is True
    assert result.metadata["best_of"] == 32
    assert len(result.candidates) == 3


def test_the_command_line_draws_many_and_writes_the_best(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["a cat", "--pipeline", "sketch", "--num-images", "2", "--seed", "1", "--best-of",
                 "20", "--option", "pause_s=0", "--out", str(tmp_path)], sketch_backend())
    assert code == 0
    paths = [Path(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert len(paths) == 2
    assert read_png(paths[0].read_bytes())["easel"]["best_of"] == 20


@pytest.mark.parametrize("out", ["out", "out.zip"])
def test_the_command_line_compares(out: str, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", "a cat", "--pane", "sketch:steps=2,pause_s=0", "--pane",
                 "sketch:seed=9,blur=none,pause_s=0", "--num-images", "2", "--seed", "5", "--out",
                 str(tmp_path / out)], sketch_backend())
    written = capsys.readouterr()
    assert code == 0, written.err
    bundle = (read_zip((tmp_path / out).read_bytes()) if out.endswith(".zip")
              else read_folder(tmp_path / out))
    assert [pane.seed for pane in bundle.facts.panes] == [5, 9]
    assert bundle.facts.panes[1].options["blur"] == "none"
    assert len(bundle.files) == 4
    assert written.out.startswith("A  Sketch: ")
    last = written.out.splitlines()[-1]
    assert Path(last).is_file()


@pytest.mark.parametrize(("args", "code", "says"), [
    (["compare", "a cat", "--pane", "sketch"], 2, "2 to 4 panes"),
    (["compare", "a cat"], 2, "--pane"),
    (["compare", "a cat", "--pane", "sketch", "--pane", "nobody"], 2, "Pane B: There is no"),
    (["compare", "a cat", "--pane", "sketch:steps", "--pane", "sketch"], 2, "generator:name"),
    (["compare", "a cat", "--pane", "sketch", "--pane", "sketch", "--seconds", "nan"], 2,
     "'nan' is not a number"),
    (["compare", "a cat", "--pane", "sketch", "--pane", "sketch", "--seconds", "0"], 2,
     "Seconds for each"),
    (["compare", "a cat", "--pane", "sketch:fail=true", "--pane", "sketch:fail=true"], 1,
     "Something went wrong inside Easel"),
    (["compare", "a cat", "--pane", "sketch", "--pane", "sketch", "--out", __file__ + "/x"], 1,
     "could not be written"),
    (["rerank", "missing.png", "--prompt", "a cat"], 2, "missing.png cannot be read"),
    (["rerank", __file__, "--prompt", "a cat"], 2, "not a PNG"),
    (["rerank", __file__], 2, "--prompt"),
    (["rerank", __file__, "--prompt", " "], 2, "no prompt to compare"),
    (["a cat", "--pipeline", "sketch", "--best-of", "1"], 2, "between 4 and 128"),
])
def test_faults_are_one_sentence(args: list[str], code: int, says: str, tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(args, sketch_backend()) == code
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_reranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, colour in (("red", "red"), ("blue", "blue"), ("green", "green")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
        files.append(str(tmp_path / f"{name}.png"))
    assert main(["rerank", *files, "--prompt", "a cat", "--against", "snow:0.5", "--json"],
                sketch_backend(small_cache())) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == files
    assert sorted(found["order"]) == [0, 1, 2]
    assert main(["rerank", *files, "--prompt", "a cat", "--against", "snow:0.5", "--keep", "2"],
                sketch_backend(small_cache())) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [files[i] for i in found["order"][:2]]


def test_panes_on_the_command_line() -> None:
    assert parse_pane("dalle", 2) == {"pipeline": "dalle", "num_images": 2, "options": {}}
    assert parse_pane("dalle:seed=3, top_k = 5,", 1) == {
        "pipeline": "dalle", "num_images": 1, "seed": "3", "options": {"top_k": "5"}}
