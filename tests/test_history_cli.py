"""The history on the command line, in the data folder that the settings name."""

from __future__ import annotations

import json
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from easel.cli.main import main
from easel.history.build import open_history
from easel.history.days import parse_day
from easel.history.recorder import Recorder
from easel.history.store import History
from easel.serving.backend import LocalBackend
from easel.settings import Settings, load_settings
from tests.bundle_folder import read_folder
from tests.kept import new_picture
from tests.noise import linear_cache, noise_registry
from tests.small_models import small_cache


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def draw(*args: str) -> int:
    """``generate`` with the noise pipeline and the history of the settings."""
    history = open_history(load_settings())
    try:
        return main([*args, "--pipeline", "noise", "--out", "out"],
                    LocalBackend(noise_registry(), linear_cache(), record=Recorder(history)))
    finally:
        history.close()


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> list[list[str]]:
    capsys.readouterr()
    assert main(["history", "list", *args]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_drawn_listed_shown_exported_deleted_restored(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert draw("a red apple", "--num-images", "2", "--seed", "7") == 0
    assert draw("a blue car", "--num-images", "1", "--seed", "3",
                "--init-image", "out/a-red-apple-noise-7.png") == 0
    rows = listed(capsys)
    assert [row[row.index("seed") + 1] for row in rows] == ["3", "8", "7"]
    car, _, apple = (row[0] for row in rows)
    assert [row[0] for row in listed(capsys, "--text", "CAR")] == [car]
    assert [row[0] for row in listed(capsys, "--size", "1", "--page", "3")] == [apple]
    assert listed(capsys, "--until", "2020-01-01") == []
    assert len(listed(capsys, "--since", "2020-01-01", "--model", "linear/8")) == 3
    assert listed(capsys, "--owners") == [["local", "3", "pictures"]]

    assert main(["history", "show", car[:8]]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["id"], facts["prompt"], facts["ancestors"]) == (car, "a blue car", [apple])
    assert Path(facts["path"]).read_bytes() == Path("out/a-blue-car-noise-3.png").read_bytes()

    assert main(["history", "export", "--text", "apple", "--out", "apples.zip"]) == 0
    assert zipfile.ZipFile("apples.zip").namelist() == [
        "pictures/a-red-apple-noise-8.png", "pictures/a-red-apple-noise-7.png", "history.json"]
    assert main(["history", "export", car]) == 0
    [other] = tmp_path.glob("easel-history-*.zip")
    assert len(zipfile.ZipFile(other).namelist()) == 2

    assert main(["history", "delete", car, apple]) == 0
    assert len(listed(capsys)) == 1
    assert len(listed(capsys, "--deleted")) == 2
    assert main(["history", "restore", car]) == 0
    assert main(["history", "delete", apple, "--forever"]) == 0
    assert len(listed(capsys)) == 2
    assert listed(capsys, "--deleted") == []


def test_comparisons_are_kept_and_kept_pictures_are_reranked(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        ) -> None:
    def build(settings: Settings, history: History | None = None) -> LocalBackend:
        return LocalBackend(noise_registry(), small_cache(),
                            record=None if history is None else Recorder(history))

    # The command opens the history of the settings itself; only the generators are small.
    monkeypatch.setattr("easel.serving.build.build_backend", build)
    assert main(["compare", "a cat", "--pane", "noise:seed=4", "--pane", "noise", "--seed", "8",
                 "--out", "cmp"]) == 0
    rows = listed(capsys, "--text", "cat")
    assert sorted(row[row.index("seed") + 1] for row in rows) == ["4", "8"]
    ids = [row[0] for row in rows]
    bundle = read_folder(Path("cmp"))
    with closing(open_history(load_settings())) as history:
        kept = {history.files.read(history.get("local", each).sha256) for each in ids}
    assert set(bundle.files.values()) == kept, "the same files"

    Image.new("RGB", (64, 64), "red").save("red.png")
    Path("notes.png").write_text("no picture")
    assert main(["rerank", "red.png", "--id", ids[0][:9], "--newest", "5", "--text", "CAT",
                 "--prompt", "a cat", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == ["red.png", ids[0], ids[1]], "each once"
    assert sorted(found["order"]) == [0, 1, 2]
    for args, says in ((["--id", "nobody"], "no picture called 'nobody'"),
                       (["--newest", "3", "--text", "nothing"], "no such pictures in the history"),
                       ([], "There are no pictures to put in order"),
                       (["red.png", "notes.png"], "notes.png: The file is not a PNG"),
                       (["--text", "cat"], "add --newest"),
                       (["--newest", "-1"], "--newest")):
        assert main(["rerank", "--prompt", "a cat", *args]) in (1, 2)
        assert says in capsys.readouterr().err

    monkeypatch.setenv("EASEL_VISITOR_QUOTA", "10")
    assert main(["compare", "a dog", "--pane", "noise", "--pane", "noise", "--out", "dog"]) == 0
    written = capsys.readouterr()
    assert written.err.count("Your history is full") == 1
    assert len(read_folder(Path("dog")).files) == 2


@pytest.mark.parametrize(("args", "code", "words"), [
    (["show", "abc"], 1, "local has no picture called 'abc'."),
    (["delete", "abc"], 1, "local has no picture called 'abc'."),
    (["restore", "abc"], 1, "local has no picture called 'abc'."),
    (["show", ""], 2, "An id is empty: give its first letters at least."),
    (["restore", " "], 2, "An id is empty: give its first letters at least."),
    (["export", ""], 2, "An id is empty: give its first letters at least."),
    (["list", "--since", "yesterday"], 2, "'yesterday' is not a day: write it as 2026-11-24."),
    (["list", "--page", "0"], 2, "--page"), (["list", "--rating", "1" + "0" * 20], 2, "--rating"),
    (["export", "--text", "nothing"], 1, "There are no such pictures, so nothing was written."),
    (["export", "--out", "data/history/history.sqlite/e.zip"], 1, "could not be written"),
    (["show"], 2, "Missing argument"), (["unheard-of"], 2, "No such command"),
])
def test_faults_are_one_sentence(args: list[str], code: int, words: str,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    history = open_history(load_settings())
    history.add("local", [new_picture(seed=1), new_picture(seed=2)])
    history.close()
    assert main(["history", *args]) == code
    written = capsys.readouterr()
    assert words in written.err
    assert "Traceback" not in written.err
    assert len([line for line in written.err.splitlines() if line.strip()]) == 1


@pytest.mark.parametrize(("args", "code", "words"), [
    (["history", "delete", ""], 2, "An id is empty: give its first letters at least."),
    (["history", "delete", "", "--forever"], 2, "An id is empty"),
    (["history", "delete", " \t", "--forever"], 2, "An id is empty"),
    (["history", "delete", "{id:.3}", "--forever"], 2,
     "too short an id to delete for good: give 4 letters of it or more."),
    (["rerank", "--prompt", "a cat", "--id", ""], 2, "An id is empty"),
])
def test_an_id_of_no_letters_names_nothing(args: list[str], code: int, words: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_history(load_settings())) as history:
        [only] = history.add("local", [new_picture()])
    assert main([each.format(id=only.id) for each in args]) == code
    assert words in capsys.readouterr().err
    assert [row[0] for row in listed(capsys)] == [only.id]
    assert main(["history", "delete", only.id[:4], "--forever"]) == 0
    assert listed(capsys) == []


def test_pictures_are_written_where_the_history_is_full(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EASEL_VISITOR_QUOTA", "10")
    assert draw("a red apple", "--num-images", "1", "--seed", "7") == 0
    assert Path("out/a-red-apple-noise-7.png").is_file()
    assert "Your history is full" in capsys.readouterr().err
    assert listed(capsys) == []


def test_the_last_day_of_all_is_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_history(load_settings())) as history:
        history.add("local", [new_picture()])
    assert len(listed(capsys, "--until", "9999-12-31")) == 1
    assert listed(capsys, "--since", "9999-12-31") == []
    last_s = parse_day("9999-12-31")
    assert last_s is not None
    assert parse_day("9999-12-31", end=True) == last_s + 86400
    assert parse_day("2026-02-28", end=True) == parse_day("2026-03-01")


@pytest.mark.parametrize("day", ["2026-11-24T10:00", "24.11.2026", "2026-13-01", "0000-00-00"])
def test_a_day_is_a_day(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "list", "--until", day]) == 2
    assert capsys.readouterr().err == f"{day!r} is not a day: write it as 2026-11-24.\n"
