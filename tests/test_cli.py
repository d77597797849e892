"""The command line: pictures on disk, scores in order, one sentence and an exit code for faults."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from easel.cli.main import main
from easel.serving.backend import LocalBackend
from pipelines.core.metadata import read_png
from tests.noise import linear_cache, noise_registry

NOISE_MAIN = """
import sys
from easel.cli.main import main
from easel.serving.backend import LocalBackend
from tests.noise import linear_cache, noise_registry
sys.exit(main(sys.argv[1:], LocalBackend(noise_registry(), linear_cache())))
"""


def run(*args: str) -> int:
    """The command line with the noise pipeline; its exit code."""
    return main(list(args), LocalBackend(noise_registry(), linear_cache()))


@pytest.mark.parametrize("first", [["generate"], []])
def test_pictures_are_written_and_ranked(first: list[str], tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    code = run(*first, "a red apple", "--pipeline", "noise", "--num-images", "3", "--seed", "7",
               "--option", "steps=2", "--option", "contrast=0.5", "--out", str(tmp_path / "new"))
    assert code == 0
    written = capsys.readouterr()
    lines = written.out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["1", "seed", "7"], ["2", "seed", "8"], ["3", "seed", "9"]]
    scores = [float(re.findall(r"clip (\S+)", line)[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    paths = [Path(line.split()[-1]) for line in lines]
    assert [path.name for path in paths] == [
        f"a-red-apple-noise-{seed}.png" for seed in (7, 8, 9)]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    facts = read_png(paths[1].read_bytes())["easel"]
    assert (facts["seed"], facts["options"]["steps"], facts["options"]["contrast"]) == (8, 2, 0.5)
    assert "2/2" in written.err


def test_a_picture_is_drawn_again_from_its_file_name(tmp_path: Path) -> None:
    run("apple", "--pipeline", "noise", "--num-images", "2", "--seed", "7", "--out", str(tmp_path))
    run("apple", "--pipeline", "noise", "--num-images", "1", "--seed", "8",
        "--out", str(tmp_path / "again"))
    name = "apple-noise-8.png"
    assert (Image.open(tmp_path / name).tobytes()
            == Image.open(tmp_path / "again" / name).tobytes())


def test_options_may_come_before_the_prompt(tmp_path: Path) -> None:
    assert run("--pipeline", "noise", "--out", str(tmp_path), "a red apple") == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_init_image_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "init.png")
    assert run("apple", "--pipeline", "noise", "--out", str(tmp_path / "out"),
               "--init-image", str(tmp_path / "init.png")) == 0
    facts = read_png(next((tmp_path / "out").iterdir()).read_bytes())["easel"]
    assert len(facts["init_image_sha256"]) == 64


@pytest.mark.parametrize(("args", "code", "words"), [
    ([" "], 2, "The prompt is empty"),
    (["apple", "--num-images", "99"], 2, "between 1 and 16"),
    (["apple", "--seed", "-1"], 2, "Seed must be"),
    (["apple", "--option", "steps=nan"], 2, "Steps must be"),
    (["apple", "--option", "unheard_of=1"], 2, "no option called 'unheard_of'"),
    (["apple", "--option", "steps"], 2, "name=value"),
    (["apple", "--pipeline", "other"], 2, "no generator called 'other'"),
    (["apple", "--init-image", "missing.png"], 2, "missing.png cannot be read"),
    (["apple", "--init-image", __file__], 2, "not a PNG, JPEG or WebP"),
    (["apple", "--num-images", "many"], 2, "--num-images"),
    (["apple", "--unheard-of", "1"], 2, "--unheard-of"),
    (["generate"], 2, "Missing argument 'prompt'"),
    (["apple", "--option", "fault=error"], 1, "Something went wrong inside Easel"),
    (["apple", "--option", "fault=memory"], 1, "ran out of memory"),
    (["apple", "--out", __file__], 1, "could not be written"),
])
def test_faults_are_one_sentence(args: list[str], code: int, words: str, tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = [] if "--pipeline" in args else ["--pipeline", "noise"]
    assert run(*args, *defaults) == code
    written = capsys.readouterr()
    assert written.out == ""
    last = [line for line in written.err.split("\n") if line.strip()][-1].split("\r")[-1]
    assert words in last
    assert "Traceback" not in written.err
    assert list(tmp_path.iterdir()) == []


def test_options_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("options") == 0
    out = capsys.readouterr().out
    assert "noise: Noise from a seed." in out
    assert "  steps=3 (1 to 10000): Steps to take." in out


def test_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "generate" in capsys.readouterr().out


@pytest.mark.parametrize(("keep", "files"), [("true", 4), ("false", 0)])
def test_ctrl_c_stops_cleanly(keep: str, files: int, tmp_path: Path, repository: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", NOISE_MAIN, "apple", "--pipeline", "noise", "--out", str(tmp_path),
         "--option", "steps=5000", "--option", "step_s=0.02", "--option", f"keep={keep}"],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert process.stderr is not None
    seen = b""
    while b"/5000" not in seen:
        seen += os.read(process.stderr.fileno(), 4096)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert b"5000/5000" not in error
    assert b"Traceback" not in error
    assert b"Stopped; " in error
    assert len(list(tmp_path.iterdir())) == files


@pytest.mark.weights
@pytest.mark.parametrize(("pipeline", "weights", "options"), [
    ("dalle", 2, []), ("vqgan_clip", 4, ["--option", "iterations=2"])])
def test_the_module_runs(pipeline: str, weights: int, options: list[str], tmp_path: Path,
                         repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "a red apple", "--pipeline", pipeline, "--num-images",
         "2", "--seed", "3", "--out", str(tmp_path), *options],
        cwd=repository, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "EASEL_DATA_DIR": str(tmp_path / "data")})
    assert done.returncode == 0, done.stderr
    assert re.search(r"100% (\d+)/\1\b", done.stderr), "the bar reached its end"
    # A line may end with another seed's number, where that drew the same pixels.
    paths = [Path(word) for word in done.stdout.split() if word.endswith(".png")]
    assert sorted(tmp_path.glob("*.png")) == sorted(paths)
    assert {path.name for path in paths} == {
        f"a-red-apple-{pipeline.replace('_', '-')}-{seed}.png" for seed in (3, 4)}
    facts = [read_png(path.read_bytes())["easel"] for path in paths]
    scores = [each["scores"]["clip"] for each in facts]
    assert scores == sorted(scores, reverse=True)
    assert all(each["width_px"] >= 256 for each in facts)
    assert all(len(digest) == 64 for digest in facts[0]["weights"].values())
    assert len(facts[0]["weights"]) == weights


def test_a_log_has_a_line_a_tenth_of_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                             ) -> None:
    assert run("apple", "--pipeline", "noise", "--option", "steps=200", "--num-images", "1",
               "--out", str(tmp_path)) == 0
    assert 10 <= capsys.readouterr().err.count("/200") <= 14
