"""Named settings, prompts from lists and tables, and one's own wildcards, on the command line."""

from __future__ import annotations

import json
import os
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from easel import own_files
from easel.cli.main import main
from easel.compare.prompt_lists import Line, read_prompts
from easel.compare.wildcards import MAX_WORD_CHARS, Wildcards, wildcard_words
from easel.history.records import LOCAL
from easel.own_files import OwnFile, sweep_files
from easel.presets import FILE, PresetStore, read_presets, store_for, write_presets
from easel.serving.backend import LocalBackend
from pipelines.core.errors import InvalidRequest
from pipelines.core.metadata import read_png
from pipelines.pipeline import Preset
from pipelines.registry import build_registry
from tests.noise import linear_cache, noise_registry

REGISTRY = noise_registry()


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def run(*args: str) -> int:
    return main(list(args), LocalBackend(noise_registry(), linear_cache()))


def said(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert run(*args, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_presets_that_ship_are_options_that_there_are() -> None:
    registry = build_registry()
    for pipeline in (*registry, *registry.waiting()):
        assert pipeline.presets["normal"] == Preset()
        for preset in pipeline.presets.values():
            pipeline.Options.model_validate(dict(preset.options))
    for name in ("dalle", "unclip", "vqgan_clip"):
        assert set(registry.get(name).presets) == {"draft", "normal", "best", "bold"}


def test_presets_are_saved_used_exported_and_imported(capsys: pytest.CaptureFixture[str],
                                                      tmp_path: Path, data_dir: Path) -> None:
    assert said(capsys, "presets", "save", "noise", "mine", "--option", "steps=2", "--best-of",
                "3") == {"noise": {"mine": {"options": {"steps": 2}, "best_of": 3}}}
    assert set(said(capsys, "presets", "list")["noise"]) == {"normal", "mine"}
    drawn = said(capsys, "a cat", "--pipeline", "noise", "--num-images", "1", "--preset", "mine")
    facts = drawn["pictures"][0]["facts"]
    assert (facts["options"]["steps"], facts["best_of"]) == (2, 3)
    other = said(capsys, "a cat", "--pipeline", "noise", "--num-images", "1", "--preset", "mine",
                 "--option", "steps=3", "--best-of", "1")
    assert other["pictures"][0]["facts"]["options"]["steps"] == 3

    assert said(capsys, "presets", "export", "--out", "mine.toml") == {"written": "mine.toml"}
    assert tomllib.loads((tmp_path / "mine.toml").read_text()) == {
        "noise": {"mine": {"best_of": 3, "options": {"steps": 2}}}}
    assert run("presets", "delete", "noise", "mine") == 0
    assert run("presets", "delete", "noise", "mine") == 2
    assert "no preset of yours" in capsys.readouterr().err
    assert said(capsys, "presets", "import", "mine.toml") == {"imported": 1}
    assert run("presets", "export") == 0
    assert capsys.readouterr().out == (tmp_path / "mine.toml").read_text()


@pytest.mark.parametrize(("args", "says"), [
    (("presets", "save", "nobody", "mine"), "no generator called"),
    (("presets", "save", "noise", "No Name"), "lower-case letters"),
    (("presets", "save", "noise", "mine", "--option", "steps=0"), "Steps must be"),
    (("presets", "save", "noise", "mine", "--best-of", "1000"), "between 0 and 128"),
    (("presets", "import", "nowhere.toml"), "cannot be read"),
    (("a cat", "--pipeline", "noise", "--preset", "nobody"), "no preset called"),
    (("grid", "nowhere.txt"), "cannot be read")])
def test_what_is_wrong_is_one_sentence(args: tuple[str, ...], says: str, data_dir: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    assert says in capsys.readouterr().err
    assert not (data_dir / FILE).exists()


@pytest.mark.parametrize(("text", "says"), [
    ("[noise.mine", "not TOML"), ("noise = 1", "where a table should be"),
    ("[noise]\nmine = 1", "where a table should be"), ("[nobody.mine]", "no generator called"),
    ("[noise.mine]\nsteps = 2", "and no 'steps'"), ("[noise.mine]\nbest_of = true", "whole number"),
    ("[noise.mine.options]\ncolour = 'red'", "no option called"),
    ("[noise.mine.options]\nsteps = nan", "must be"),
    ("[noise.mine.options.steps]\na = 1", "must be"), ("x" * 300_000, "larger than 256 KB"),
    ("[noise.mine.options]\nsteps = " + "9" * 5000, "not TOML"),
    # tomllib takes the square of a key's parts, and Python's lock with it: minutes for this one.
    ("a." * 130_000 + "a = 1", "more than 100 dots"),
    ("[" + "a." * 130_000 + "a]", "more than 100 dots"),
    ('x = {y = """a"""", ' + "a." * 200 + 'a = 1, z = ""}', "more than 100 dots"),
    ("x = {y = '''\n\" ''', " + "a." * 200 + "a = 1, z = \"\"}", "more than 100 dots")])
def test_a_bad_file_of_presets_changes_nothing(text: str, says: str, tmp_path: Path) -> None:
    store = PresetStore(OwnFile(tmp_path / FILE), REGISTRY)
    store.save("mine", {"noise": Preset({"steps": 2})})
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InvalidRequest, match=says):
        store.add(text.encode())
    assert (tmp_path / FILE).read_bytes() == before
    with pytest.raises(InvalidRequest, match="not TOML"):
        read_presets(b"\xff", REGISTRY)


def test_a_preset_that_does_not_fit_any_more_takes_no_other_with_it(tmp_path: Path) -> None:
    """A generator's weights may go, and an option may be taken away."""
    store = PresetStore(OwnFile(tmp_path / FILE), REGISTRY)
    (tmp_path / FILE).write_text('[gone.mine]\n[gone.mine.options]\nsteps = 2\n'
                                 '[noise.old.options]\ncolour = "red"\n')
    store.save("mine", {"noise": Preset({"steps": 2})})
    assert store.find("noise", "mine").options == {"steps": 2}
    with pytest.raises(InvalidRequest, match="no option called"):
        store.find("noise", "old")
    with pytest.raises(InvalidRequest, match="no generator called"):
        store.find("gone", "mine")
    assert set(store.all()["noise"]) == {"normal", "old", "mine"}
    store.delete("noise", "old")
    kept = tomllib.loads((tmp_path / FILE).read_text())
    assert kept == {"gone": {"mine": {"options": {"steps": 2}}},
                    "noise": {"mine": {"options": {"steps": 2}}}}


def test_any_text_of_an_option_is_written_as_toml_reads_it() -> None:
    text = "".join(map(chr, (*range(32), 34, 39, 92, *range(126, 162), 0x2028, 0xffff, 0x1f600)))
    whole = {"noise": {"mine": Preset({"text": text, "whole": 3, "share": 1e-7, "on": True})}}
    assert read_presets(write_presets(whole).encode()) == whole
    with pytest.raises(InvalidRequest, match="where a value should be"):
        read_presets(b"[noise.mine.options]\nsteps = nan")


def test_a_text_may_have_as_many_dots_as_it_likes(tmp_path: Path) -> None:
    text = 'and so on' + "." * 400 + '"""' + "'''" + "." * 99 + "#"
    whole = {"noise": {"mine": Preset({"text": text})}}
    assert read_presets(write_presets(whole).encode()) == whole


def test_of_several_generators_all_presets_are_kept_or_none(tmp_path: Path) -> None:
    store = PresetStore(OwnFile(tmp_path / FILE), build_registry())
    with pytest.raises(InvalidRequest):
        store.save("mine", {"dalle": Preset(), "unclip": Preset({"colour": 1})})
    assert store.own() == {}
    store.save("mine", {"dalle": Preset({"temperature": 0.5}), "unclip": Preset()})
    assert {pipeline: list(named) for pipeline, named in store.own().items()} == {
        "dalle": ["mine"], "unclip": ["mine"]}


@pytest.mark.parametrize(("pipeline", "options", "says"), [
    ("vqgan_clip", {"aspect": "9:1"}, "too long"),
    ("vqgan_clip", {"aspect": "wide"}, "width:height"),
    ("vqgan_clip", {"drops": "half"}, "Step size drops"),
    ("vqgan_clip", {"move_every": 5}, "no move"),
    ("vqgan_clip", {"image_prompt_weights": "1, many"}, "image prompts"),
    ("unclip", {"negative_prompt": "a cat", "decoder_guidance_scale": 1.0}, "guidance above 1"),
    ("dalle", {"negative_prompt": "a cat", "guidance_scale": 1.0}, "guidance above 1")])
def test_what_no_run_could_be_drawn_with_is_not_kept(pipeline: str, options: dict[str, Any],
                                                     says: str, tmp_path: Path) -> None:
    registry = build_registry()
    store = PresetStore(OwnFile(tmp_path / FILE), registry)
    with pytest.raises(InvalidRequest, match=says) as refused:
        registry.check({"pipeline": pipeline, "prompt": "a cat", "options": options})
    with pytest.raises(InvalidRequest) as told:
        store.save("mine", {pipeline: Preset(options)})
    assert str(told.value) == str(refused.value), "in the words of a run"
    with pytest.raises(InvalidRequest):
        store.add(write_presets({pipeline: {"mine": Preset(options)}}).encode())
    assert store.own() == {}
    # What a request brings beside its options, here pictures, is nobody's to say before it comes.
    store.save("mine", {"vqgan_clip": Preset({"image_prompt_weights": "1, -0.5"}),
                        "unclip": Preset({"picture": "difference"})})
    assert len(store.own()) == 2


def test_everybody_has_presets_of_their_own(tmp_path: Path) -> None:
    stores = [store_for(tmp_path, owner, REGISTRY) for owner in (LOCAL, "a" * 40, "b" * 40)]
    for number, store in enumerate(stores):
        store.save(f"of-{number}", {"noise": Preset()})
    assert [list(store.own()["noise"]) for store in stores] == [["of-0"], ["of-1"], ["of-2"]]
    assert stores[0].file.path == tmp_path / FILE, "where the command line has always kept them"
    for owner in ("", "../x", "a/b", "."):
        with pytest.raises(ValueError, match="no visitor"):
            store_for(tmp_path, owner, REGISTRY)


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    def save(number: int) -> None:
        PresetStore(OwnFile(tmp_path / FILE), REGISTRY).save(f"n{number}", {"noise": Preset()})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(24)))
    assert len(PresetStore(OwnFile(tmp_path / FILE), REGISTRY).own()["noise"]) == 24


def visited(tmp_path: Path, name: str, first_s: float, last_s: float) -> Path:
    """A visitor's presets, saved and used last so many seconds ago."""
    store = store_for(tmp_path, name * 40, REGISTRY)
    store.save("mine", {"noise": Preset()})
    now = time.time()
    os.utime(store.file.path, (now - last_s, now - first_s))
    return store.file.path


def test_a_new_visitor_has_room_whoever_was_here_before(tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Those leave who never came back; who uses theirs keeps them."""
    monkeypatch.setattr(own_files, "MAX_FILES", 3)
    day = own_files.DAY_S
    regular = visited(tmp_path, "a", 90 * day, 30 * day)
    once, again = visited(tmp_path, "b", 5 * day, 5 * day), visited(tmp_path, "c", 9 * day, day)
    for number, name in enumerate("defghijk"):  # a crowd, all new
        store_for(tmp_path, name * 40, REGISTRY).save("mine", {"noise": Preset()})
        assert len(list(regular.parent.iterdir())) == 3
        assert not once.exists()
        assert regular.exists(), number
        assert again.exists(), number
    assert store_for(tmp_path, "k" * 40, REGISTRY).own(), "the last to come has theirs"
    store_for(tmp_path, "a" * 40, REGISTRY).save("other", {"noise": Preset()})
    assert list(store_for(tmp_path, "a" * 40, REGISTRY).own()["noise"]) == ["mine", "other"]


def test_presets_together_take_only_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            ) -> None:
    first = visited(tmp_path, "a", 60, 60)
    monkeypatch.setattr(own_files, "MAX_FILES_BYTES", first.stat().st_size)
    second = visited(tmp_path, "b", 0, 0)
    assert not first.exists()
    assert second.exists()


def test_presets_go_with_the_cookie_unless_they_are_used(tmp_path: Path) -> None:
    away = own_files.MAX_AWAY_S
    used = visited(tmp_path, "b", away * 2, away - 3600)
    gone = visited(tmp_path, "a", away + 60, away + 60)
    assert store_for(tmp_path, "b" * 40, REGISTRY).own()
    assert sweep_files(used.parent) == 1
    assert not gone.exists()
    assert used.exists()
    assert sweep_files(tmp_path / "none") == 0
    mine = PresetStore(OwnFile(tmp_path / FILE), REGISTRY)
    mine.save("mine", {"noise": Preset()})
    os.utime(mine.file.path, (1, 1))
    sweep_files(used.parent)
    assert mine.own(), "the command line's have no end"


@given(st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,10}", fullmatch=True), st.builds(
    Preset, st.fixed_dictionaries({}, optional={
        "steps": st.integers(1, 5), "contrast": st.floats(0, 1).map(lambda x: round(x, 6))}),
    st.integers(0, 128)), max_size=4))
def test_what_is_written_is_read(presets: dict[str, Preset]) -> None:
    whole = {"noise": presets} if presets else {}
    assert read_presets(write_presets(whole).encode(), REGISTRY) == whole


def test_lists_and_tables_of_prompts() -> None:
    assert read_prompts("a.txt", b"a cat\n\n# a remark\r\n a dog \n") == [Line("a cat"),
                                                                          Line("a dog")]
    table = 'prompt,steps\n"a cat, red",2\n\na dog,\n,3\n'.encode("utf-8-sig")
    assert read_prompts("a.csv", table) == [Line("a cat, red", {"steps": "2"}), Line("a dog")]
    assert read_prompts("a.CSV", b"a cat\na dog\n") == [Line("a cat"), Line("a dog")]
    for name, data, says in (
            ("a.txt", b"\n", "holds no prompts"), ("a.csv", b"prompt\n", "holds no prompts"),
            ("a.txt", b"a\n" * 37, "37 prompts are too many"),
            ("a.txt", b"\xff", "The file a.txt is not text in UTF-8"),
            ("a.csv", b"a,b\n1,2\n", "no column called"), ("a.csv", b'"a', "not a CSV table")):
        with pytest.raises(InvalidRequest, match=says):
            read_prompts(name, data)


def test_a_table_becomes_a_grid_with_own_words(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                               data_dir: Path) -> None:
    (data_dir / "wildcards").mkdir(parents=True)
    (data_dir / "wildcards" / "mood.txt").write_text("# moods\nquiet\n")
    (data_dir / "wildcards" / "No Name.txt").write_text("x\n")
    (data_dir / "wildcards" / "bad.txt").write_bytes(b"\xff")
    words = Wildcards(data_dir / "wildcards")
    assert set(words) == {*wildcard_words(), "mood", "bad"}
    assert (words["mood"], words["place"]) == (("quiet",), wildcard_words()["place"])
    assert dict(Wildcards(tmp_path / "nowhere")) == wildcard_words()
    (tmp_path / "list.csv").write_text("prompt,steps\na __mood__ cat,1\na dog,2\n")
    drawn = said(capsys, "grid", "list.csv", "--pipeline", "noise", "--columns", "2", "--seed",
                 "5", "--out", "sheet")
    assert [(p["prompt"], p["seed"]) for p in drawn["pictures"]] == [
        ("a quiet cat", 5), ("a quiet cat", 6), ("a dog", 5), ("a dog", 6)]
    facts = [read_png(Path(p["path"]).read_bytes())["easel"] for p in drawn["pictures"]]
    assert [f["options"]["steps"] for f in facts] == [1, 1, 2, 2]
    assert [f["seed"] for f in facts] == [5, 6, 5, 6]
    grid = Image.open(drawn["grid"])
    assert grid.width > 2 * 256
    assert np.array(grid).std() > 0
    assert run("grid", "list.csv", "--pipeline", "noise", "--option", "contrast=9") == 2
    assert "Contrast must be" in capsys.readouterr().err


def test_braces_of_a_list_stand_for_rows_of_their_own(capsys: pytest.CaptureFixture[str],
                                                      tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "list.csv").write_text("prompt,steps\na {red|blue} cat,2\na dog,1\n")
    drawn = said(capsys, "grid", "list.csv", "--pipeline", "noise", "--out", "sheet")
    assert [p["prompt"] for p in drawn["pictures"]] == ["a red cat", "a blue cat", "a dog"]
    facts = [read_png(Path(p["path"]).read_bytes())["easel"] for p in drawn["pictures"]]
    assert [f["options"]["steps"] for f in facts] == [2, 2, 1]
    (tmp_path / "open.txt").write_text("a {red cat\n")
    assert run("grid", "open.txt", "--pipeline", "noise") == 2
    assert "A brace of the prompt is not closed" in capsys.readouterr().err
    (tmp_path / "many.txt").write_text("a {red|blue} cat\n" * 20)
    assert run("grid", "many.txt", "--pipeline", "noise") == 2
    assert "40 prompts are too many" in capsys.readouterr().err


@pytest.mark.parametrize(("data", "says"), [
    (b"GIF89a\xff\xfe\0", "The file mood.txt is not text in UTF-8."),
    ("quiet\n".encode("utf-16"), "The file mood.txt is not text in UTF-8."),
    ("café\n".encode("latin-1"), "The file mood.txt is not text in UTF-8."),
    (b"qui\0et\n", "The file mood.txt is not a text file."),
    (b"a\n" * 2**19 + b"b", "The file mood.txt is larger than 1 MB."),
    (b"# a remark alone\n\n", "The list of words mood.txt holds no words."),
    (b"calm\n" + b"x" * (MAX_WORD_CHARS + 1), f"The word '{'x' * 40}'… of the list mood.txt has "
                                               "more than 200 characters."),
    (None, "The list of words mood.txt cannot be read: ")])
def test_a_list_of_words_that_is_none_is_told_to_who_uses_it(
        data: bytes | None, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
        data_dir: Path) -> None:
    (data_dir / "wildcards").mkdir(parents=True)
    path = data_dir / "wildcards" / "mood.txt"
    path.write_bytes(data or b"quiet\n")
    (tmp_path / "with.txt").write_text("a __mood__ cat\n")
    (tmp_path / "without.txt").write_text("a __color__ cat\n")
    if data is None:
        words = Wildcards(path.parent)
        path.unlink()
        with pytest.raises(InvalidRequest, match=says):
            words["mood"]
        return
    assert run("grid", "with.txt", "--pipeline", "noise", "--out", "sheet") == 2
    shown = capsys.readouterr().err
    assert shown.startswith(says)
    assert shown.count("\n") == 1
    assert run("grid", "without.txt", "--pipeline", "noise", "--out", "sheet") == 0


def test_a_grid_says_what_it_leaves_out_of_a_preset(capsys: pytest.CaptureFixture[str],
                                                    tmp_path: Path) -> None:
    assert run("presets", "save", "noise", "mine", "--option", "steps=2", "--best-of", "4") == 0
    (tmp_path / "list.txt").write_text("a dog\n")
    assert run("grid", "list.txt", "--pipeline", "noise", "--preset", "mine", "--out", "sheet") == 0
    assert "best of 4, which mine asks for, is left out" in capsys.readouterr().err
    [picture] = [path for path in Path("sheet").glob("*.png") if path.name != "grid.png"]
    assert read_png(picture.read_bytes())["easel"]["options"]["steps"] == 2
