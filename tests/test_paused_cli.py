"""``python -m pipelines runs``: pause on the command line, and go on another day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from easel.cli.main import main
from easel.history.records import LOCAL
from pipelines.core.images import load_image
from pipelines.core.metadata import read_png
from pipelines.models.cache.cache import ModelCache
from tests.paused_server import Server, cache, open_runs

__all__ = ["cache"]
OPTIONS = [part for name in ("num_cutouts=1", "iterations=4", "precision=float32",
                             "preview_every=1") for part in ("--option", name)]
DRAW = ["a red apple", "--pipeline", "vqgan_clip", "--num-images", "1", "--seed", "5", *OPTIONS]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, cache: ModelCache, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a process of its own, as far as paused runs are concerned."""
    def command(*args: str) -> tuple[int, str, str]:
        code = main(list(args), Server(tmp_path / "paused", cache).backend)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_pause_list_branch_resume(run: Run, tmp_path: Path) -> None:
    whole, paused, blue = (str(tmp_path / name) for name in ("whole", "onward", "blue"))
    assert run(*DRAW, "--out", whole)[0] == 0
    code, out, _ = run(*DRAW, "--pause-after", "2", "--out", paused)
    assert code == 0
    assert out.startswith("The run is paused at step 2 of 4. Go on by `python -m pipelines runs ")
    assert not Path(paused).exists()
    (run_id,) = [each.run_id for each in open_runs(tmp_path / "paused").of(LOCAL)]
    assert run_id in out
    assert "step 2 of 4  a red apple" in run("runs", "list")[1]

    code, out, _ = run("runs", "branch", run_id[:8], "--prompt", "a blue car", "--video",
                       "--out", blue)
    assert code == 0
    (picture,) = Path(blue).glob("*.png")
    facts = read_png(picture.read_bytes())["easel"]
    assert facts["prompt"] == "a blue car"
    assert facts["changes"] == [{"step": 2, "prompt_before": "a red apple",
                                 "prompt": "a blue car", "branch_of": run_id}]
    assert picture.with_suffix(".mp4").is_file()

    assert run("runs", "resume", run_id[:8], "--out", paused)[0] == 0
    (there,), (here,) = (list(Path(folder).glob("*.png")) for folder in (whole, paused))
    assert (load_image(there.read_bytes()) == load_image(here.read_bytes())).all()
    assert run("runs", "list")[2] == "There are no paused runs.\n"


def test_what_cannot_be_is_said_in_a_sentence(run: Run) -> None:
    for args, code, says in [
            (("runs", "resume", "0123"), 1, "There is no such paused run"),
            (("runs", "delete", "../x"), 1, "There is no such paused run"),
            (("runs", "branch", "0123", "--noise", "nan"), 2, "'nan' is not a number"),
            (("runs", "branch", "0123", "--noise", "9"), 2, "Noise must be a number"),
            ((*DRAW, "--best-of", "3", "--pause-after", "1"), 2, "best of many cannot be paused"),
            (("a cat", "--pipeline", "sketch", "--pause-after", "1"), 2, "cannot be paused")]:
        found, _, err = run(*args)
        assert (found, says in err, err.count("\n")) == (code, True, 1), args


def test_deleted_runs_are_gone(run: Run, tmp_path: Path) -> None:
    run(*DRAW, "--pause-after", "1")
    (path,) = (tmp_path / "paused").glob("*/*.safetensors")
    name = path.stem.partition("-")[0]
    for start in ("", "  ", name[:3]):
        code, _, err = run("runs", "delete", start)
        assert (code, err.count("\n")) == (2, 1)
    for command in ("resume", "branch"):
        assert run("runs", command, "")[::2] == (
            2, "An id is empty: give its first letters at least.\n")
    assert path.exists()
    assert run("runs", "delete", name[:6])[0] == 0
    assert not path.exists()
