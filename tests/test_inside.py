"""The Inside tab's endpoints through the page's server, and what its views are made of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from easel.guard.made_of import noted
from easel.ui.inside import view
from easel.ui.inside.codes import place_of, swapped
from easel.ui.inside.planned import share
from easel.ui.inside.realism import render_judged
from easel.ui.inside.replay import render_moment
from easel.words import strings
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.errors import InvalidRequest
from pipelines.core.images import load_image
from pipelines.inside.codes import ReadCodes
from pipelines.inside.realism import JudgePatches
from pipelines.inside.replay import replayed, replayed_pairs
from pipelines.inside.score import WhyScore
from tests.lab import write_pictures
from tests.served import App
from tests.small_models import small_cache


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(cache=small_cache())
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return app.client()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("inside"), 1, side_px=64)[0]


def refusal(client: Client, api_name: str, **fields: Any) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(api_name=api_name, **fields)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_score_is_taken_apart(app: App, client: Client, picture: Path) -> None:
    said, files = client.predict(handle_file(picture), "a red apple", api_name="/inside_score")
    image = load_image(picture.read_bytes())
    found = app.backend.inside(WhyScore(image, "a red apple"))
    assert said["score"] == pytest.approx(found.score)
    assert [word["text"] for word in said["words"]] == ["a", "red", "apple"]
    np.testing.assert_allclose(said["cells"], found.cells, atol=1e-6)
    assert [piece["text"] for piece in said["pieces"]] == ["a", "red", "apple"]
    with Image.open(files[0]) as heat:
        assert heat.size == (64, 64)


def test_a_kept_picture_is_looked_into_by_its_id(client: Client) -> None:
    _, drawn = client.predict("a cat", ["sketch"], 1, 3, {"sketch": {"steps": 1}},
                              api_name="/generate")
    kept = drawn["pictures"][0]["id"]
    said, _ = client.predict(None, "a cat", kept, api_name="/inside_score")
    assert len(said["words"]) == 2
    assert "history" in refusal(client, "/inside_score", kept="nobody's", prompt="a cat")


def test_what_was_seen_in_a_picture_goes_with_it(app: App, client: Client) -> None:
    _, drawn = client.predict("a cat", ["sketch"], 1, 4, {"sketch": {"steps": 1}},
                              api_name="/generate")
    kept = drawn["pictures"][0]["id"]
    cache = Path(os.environ["GRADIO_TEMP_DIR"])
    before = set(cache.rglob("heat-map.png"))
    client.predict(None, "a cat", kept, api_name="/inside_score")
    made = {path for path in set(cache.rglob("heat-map.png")) - before if noted(path)}
    assert made
    assert client.predict([kept], True, api_name="/history_delete") == 1
    assert not any(path.exists() for path in made)


def test_large_pictures_wait_for_the_models_small(app: App, client: Client, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (1500, 750), "red").save(tmp_path / "large.png")
    seen: list[tuple[int, ...]] = []
    ask = app.backend.inside

    def watched(question: Any, job_id: str | None = None) -> Any:
        seen.extend(each.shape for each in getattr(question, "images", None) or [question.image])
        return ask(question, job_id)

    monkeypatch.setattr(app.backend, "inside", watched)
    file = handle_file(tmp_path / "large.png")
    _, [heat] = client.predict(file, "a red apple", api_name="/inside_score")
    with Image.open(heat) as opened:
        assert opened.size == (512, 256)
    client.predict(file, api_name="/inside_codes")
    client.predict(file, api_name="/inside_code")
    client.predict(file, api_name="/inside_patches")
    client.predict(file, "a red apple", api_name="/inside_stream")
    client.predict([file, file], ["a cat", "a dog"], api_name="/inside_contrast")
    assert seen == [(256, 512, 3)] * 7


def test_no_view_of_the_page_reads_a_picture_whole() -> None:
    for module in (Path(view.__file__ or "").parent).glob("*.py"):
        assert not {"load_image", "open_image"} & set(
            re.findall(r"\w+", module.read_text(encoding="utf-8"))), module


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": "a cat"}, "There is no picture: choose one first."),
    ({"prompt": "a cat", "kept": 5}, "The picture's id must be a text."),
    ({"prompt": "a cat", "kept": ["x"]}, "The picture's id must be a text."),
    ({"picture": True, "prompt": " "}, "The prompt is empty: say what the picture shows."),
    ({"picture": True, "prompt": "a cat", "model": "x"}, "The catalogue has no CLIP called 'x'."),
])
def test_what_cannot_be_taken_apart_is_refused(client: Client, picture: Path,
                                               fields: dict[str, Any], says: str) -> None:
    given = {**fields, **({"picture": handle_file(picture)} if "picture" in fields else {})}
    assert refusal(client, "/inside_score", **given) == says


def test_codes_are_read_and_exchanged(app: App, client: Client, picture: Path) -> None:
    said, files = client.predict(handle_file(picture), api_name="/inside_codes")
    found = app.backend.inside(ReadCodes(load_image(picture.read_bytes())))
    assert said["codes"] == found.grid.tolist()
    assert (said["distinct"], said["count"]) == (found.distinct, 125)
    assert said["psnr_db"] == pytest.approx(found.psnr_db)
    for file, pixels in zip(files, (found.image, found.reconstruction, found.difference),
                            strict=True):
        with Image.open(file) as opened:
            assert np.array_equal(np.asarray(opened), pixels)
    one, files = client.predict(handle_file(picture), 2, 3, [[2, 3, 7]], api_name="/inside_code")
    assert (one["code"], one["digits"]) == (7, [0, 1, 2])
    assert len(files) == 3 + len(one["nearest"])
    assert one["furthest"]["code"] == 120, "the other corner: 4, 4, 0"
    for fields, says in (({"row": 8}, "from 0 to 7: there is none in row 8, column 0."),
                         ({"row": "x"}, "Row and column must be whole numbers."),
                         ({"column": True}, "Row and column must be whole numbers."),
                         *(({"swaps": swaps}, "Swaps must be a list of lists of three whole "
                            "numbers: row, column and code.")
                           for swaps in ([[1, 2]], "abc", {"a": 1}, [5], 0, [[0, 0, True]])),
                         ({"swaps": [[0, 0, 10**9]]}, "Codes are numbers from 0 to 124")):
        assert says in refusal(client, "/inside_code", picture=handle_file(picture), **fields)


def test_patches_are_judged_in_a_picture_and_in_its_codes_drawn(
        app: App, client: Client, picture: Path, tmp_path: Path) -> None:
    said, files = client.predict(handle_file(picture), api_name="/inside_patches")
    found = app.backend.inside(JudgePatches(load_image(picture.read_bytes())))
    assert (said["patch_px"], said["right"]) == (34, 0.75)
    for name, judged in (("picture", found.picture), ("reconstruction", found.reconstruction)):
        np.testing.assert_allclose(said[name]["logits"], judged.logits, atol=1e-5)
        assert said[name]["mean"] == pytest.approx(judged.mean, abs=1e-5)
        assert said[name]["real"] == pytest.approx(judged.real, abs=0.03)
    assert [Path(file).stem for file in files] == [
        "picture", "reconstruction", "picture-map", "reconstruction-map"]
    for file, pixels in zip(files, (found.codes.image, found.codes.reconstruction,
                                    *found.heat_maps), strict=True):
        with Image.open(file) as opened:
            assert np.abs(np.asarray(opened).astype(int) - pixels).max() <= 1
    Image.new("LA", (90, 30), (200, 90)).save(tmp_path / "grey.png")  # of another size and mode
    grey, _ = client.predict(handle_file(tmp_path / "grey.png"), api_name="/inside_patches")
    assert np.array(grey["picture"]["logits"]).shape == found.picture.logits.shape
    assert refusal(client, "/inside_patches") == "There is no picture: choose one first."


def test_the_page_says_of_patches_what_is_true_of_them(app: App) -> None:
    found = app.backend.inside(JudgePatches(np.zeros((32, 32, 3), np.uint8)))
    html = render_judged(found)
    assert html.count('role="gridcell"') == 2 * 64
    assert f"{found.picture.mean:+.2f}" in html
    assert "75.0 % of the patches" in html
    assert "the VQGAN never heard it" in html
    assert html.count("<img") == html.count('alt="') == 2
    unmeasured = render_judged(replace(found, right=None))
    assert "a guess would have" not in unmeasured
    with speaking(PORTUGUESE):
        said = render_judged(found)
    assert "o VQGAN nunca o ouviu" in said
    assert f"{found.picture.mean:+.2f}".replace(".", ",") in said


def test_a_small_chance_is_not_written_as_none() -> None:
    assert share(0.5) == "50.0 %"
    assert share(0.0004) == "< 0.1 %"
    assert share(0.0) == "0 %"


def test_what_the_page_says_of_a_code() -> None:
    assert place_of("3 5 1764421200000") == ((3, 5), None)
    assert place_of("3 5 120 1764421200000") == ((3, 5), 120)
    for said in ("", None, "x y", ["3"], "3", "-1 2"):
        with pytest.raises(InvalidRequest, match="There is no such code"):
            place_of(said)
    before = {(3, 5): 120, (0, 1): 7}
    assert swapped("3 5 1764421200000", before) == before
    assert swapped("3 5 9 1764421200000", before) == {(3, 5): 9, (0, 1): 7}
    assert swapped("3 5 back 1764421200000", before) == {(0, 1): 7}
    assert swapped("2 2 back 1764421200000", before) == before
    assert swapped("3 5 reset 1764421200000", before) == {}


def test_a_stream_is_read_again_from_its_seed(client: Client, picture: Path) -> None:
    said, files = client.predict(handle_file(picture), "a red apple", "",
                                 {"temperature": 1.0, "top_k": 0}, api_name="/inside_stream")
    assert (said["side"], said["reread"]) == (4, True)
    assert np.array(said["codes"]).shape == (2, 8, 8)
    assert np.array(said["blocks"]).shape == (32, 6, 8)
    assert said["words"] == ["a", "red", "apple"]
    assert [(token["kind"], token["thing"], token["value"]) for token in said["plan"]] == [
        ("style", 0, "photo"), ("background", 0, "white"), ("column", 1, 0), ("row", 1, 0),
        ("side", 1, 16), ("way", 1, "once"), ("column", 2, None)]
    assert said["layers"] == [{"thing": 0, "how": "at once"}, {"thing": 1, "how": "at once"}]
    assert 0 < said["plan"][0]["likely"] < 1
    assert len(said["plan"][0]["others"]) == 3
    together = (np.array(said["looked"]).sum(1) + said["looked_at_marks"] + said["looked_at_plan"]
                + said["looked_at_picture"])
    np.testing.assert_allclose(together, 1, rtol=1e-4)
    np.testing.assert_allclose(np.array(said["likely"])[:, 0], np.exp(-np.array(said["surprise"])),
                               rtol=1e-3, atol=1e-30)
    assert [Path(file).stem for file in files] == ["picture", "patches", "layer-0", "layer-1"]
    for file, size in zip(files, ((256, 256), (6 * 64, 32 * 64), (128, 128), (128, 128)),
                          strict=True):
        with Image.open(file) as opened:
            assert opened.size == size
    for options, says in (
            ([1], "Options must be values by name."),
            ({"model": "../../x"}, "Inside asks embedded/dalle alone, not '../../x'."),
            ({"temperature": 9}, "Temperature must be a number between 0.1 and 2, not 9.")):
        assert refusal(client, "/inside_stream", picture=handle_file(picture), prompt="a cat",
                       options=options) == says


@pytest.mark.parametrize("facts", [
    '"prompt":"\\ud800 x","seed":7', '"prompt":"a cat","seed":true', '"prompt":"a\\u0000","seed":7',
    f'"prompt":"{"a " * 80_000}","seed":7'])
def test_what_no_run_is_asked_for_wrote_no_picture(client: Client, tmp_path: Path,
                                                   facts: str) -> None:
    said = PngInfo()
    said.add_text("easel", '{"pipeline":"dalle","options":{},' + facts + "}")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png", pnginfo=said)
    found, _ = client.predict(handle_file(tmp_path / "a.png"), "a cat", api_name="/inside_stream")
    assert found["reread"]


def test_two_pictures_are_mixed_by_a_mask(client: Client, picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("L", (90, 30), 200).save(other)
    one, two = handle_file(picture), handle_file(other)
    said, files = client.predict(one, two, "checker", api_name="/inside_mix")
    kept = np.array(said["kept"], bool)
    assert kept.sum() == 32
    assert np.array_equal(np.where(kept, said["one"], said["other"]), said["codes"])
    assert [Path(file).stem for file in files] == ["together", "pasted", "difference", "one",
                                                   "other"]
    rows, _ = client.predict(one, two, [[1, 0]], api_name="/inside_mix")
    mask = Image.new("RGBA", (50, 40), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (25, 0, 50, 40))
    mask.save(tmp_path / "mask.png")
    drawn, _ = client.predict(one, two, mask_file=handle_file(tmp_path / "mask.png"),
                              api_name="/inside_mix")
    left, _ = client.predict(one, two, api_name="/inside_mix")
    assert rows["codes"] == drawn["codes"] == left["codes"]
    Image.new("L", (8, 8), 0).save(tmp_path / "black.png")
    for fields, says in (({"mask": "round"}, "A mask is one of upper, left, checker, or rows of"),
                         ({"mask": None}, "There is no mask."),
                         ({"mask": [[1, 1]]}, "The mask keeps all codes: leave some of them out."),
                         ({"mask": [[0]]}, "The mask keeps none of the codes: keep some of them."),
                         ({"mask_file": handle_file(tmp_path / "black.png")},
                          "The mask keeps all codes: leave some of them out."),
                         ({"other": None}, "There is no picture: choose one first.")):
        assert refusal(client, "/inside_mix", **{"picture": one, "other": two, **fields},
                       ).startswith(says)


def test_a_picture_is_gone_on_with(client: Client, picture: Path) -> None:
    file = handle_file(picture)
    bold = {"temperature": 1.0, "top_k": 0}
    said, files = client.predict(file, "a red apple", "left", 7, 2, bold,
                                 api_name="/inside_complete")
    assert (said["seeds"], said["reread"]) == ([7, 8], True)
    read, _ = client.predict(file, "a red apple", api_name="/inside_stream")
    kept = np.array(said["kept"], bool)
    assert (np.array(said["cells"]).sum(), kept.sum()) == (128, 64)
    for codes in said["codes"]:
        assert np.array_equal(np.array(codes)[kept], np.array(read["codes"])[kept])
    assert said["plan"] == {"style": "photo", "background": "white", "things": [
        {"column": 0, "row": 0, "side": 16, "mirrored": False, "drafted": False}]}
    assert said["layers"] == [{"thing": 0, "how": "at once"}, {"thing": 1, "how": "at once"}]
    assert [Path(each).stem for each in files] == ["picture", "completion-1", "completion-2"]
    for fields, says in (({"mask": [[1]]}, "The mask keeps all codes: leave some of them out."),
                         ({"mask": "round"}, "A mask is one of upper, left, checker, or rows of"),
                         ({"prompt": ""}, "The prompt is empty: say what the picture shows."),
                         ({"count": 9}, "Completions must be a whole number between 1 and 8"),
                         ({"seed": "x"}, "Seed must be a whole number between 0 and"),
                         ({"options": [1]}, "Options must be values by name."),
                         ({"options": {"model": "x"}}, "Inside asks embedded/dalle alone, not"),
                         ({"picture": None}, "There is no picture: choose one first.")):
        assert refusal(client, "/inside_complete", **{"picture": file, "prompt": "a cat", **fields},
                       ).startswith(says)


def test_pairs_have_a_loss(client: Client, tmp_path: Path) -> None:
    files = [handle_file(path) for path in write_pictures(tmp_path, 3)]
    texts = ["a cat", "a dog", "a cow"]
    said = client.predict(files, texts, 0.1, api_name="/inside_contrast")
    logits = np.array(said["similarities"]) / 0.1
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(said["softmax_over_pictures"], rows, atol=1e-5)
    assert said["loss_of_texts"] == pytest.approx(-np.log(np.diag(rows)).mean(), abs=1e-5)
    assert client.predict(files, texts, api_name="/inside_contrast")["temperature"] == \
        pytest.approx(said["trained_temperature"])
    for fields, says in (({"texts": texts[:2]},
                          "Every picture needs its own text, one a line; pictures: 3, texts: 2."),
                         ({"texts": 5}, "Texts must be a list of texts."),
                         *(({"texts": texts, "temperature": each},
                            "The temperature must be from 0.005 to 1.0.") for each in ("x", True))):
        assert refusal(client, "/inside_contrast", images=files, **fields).startswith(says)


def test_the_pairs_of_a_training_are_told_moment_by_moment(client: Client) -> None:
    said = client.predict(8, api_name="/inside_replay")
    assert said["temperature"] == said["trained_temperature"]
    assert said["pictures_seen"] == said["step"] * said["batch_size"]
    assert len(said["texts"]) == len(said["similarities"]) == 12
    rows = np.array(client.predict(8, 0.5, api_name="/inside_replay")["softmax_over_pictures"])
    logits = np.array(said["similarities"]) / 0.5
    np.testing.assert_allclose(rows, np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
                               atol=1e-5)
    assert client.predict(api_name="/inside_replay")["step"] == 0
    for fields, says in (({"moment": 9}, "The moment must be a whole number between 1 and 8"),
                         ({"temperature": "x"}, "The temperature must be from 0.005 to 1.0.")):
        assert refusal(client, "/inside_replay", **fields).startswith(says)


def test_the_page_shows_one_reading_with_a_picture_a_pair() -> None:
    last = replayed(8)
    html = render_moment(8, None, 2)
    assert html.count("<table") == 1
    assert html.count("<td") == 144
    for text in replayed_pairs().texts:
        assert f'alt="{text}"' in html
    assert f"{last.pictures_seen:,} pictures seen" in html
    assert f"{last.contrast.loss:.3f}" in html
    assert f"{last.contrast.similarities[0, 0]:.3f}" in html
    assert "%" not in html.split("<tbody>")[1].split("</td>")[0].split(">")[-1]
    assert " %" in render_moment(8, None, 0).split("<tbody>")[1]
    with speaking(PORTUGUESE):
        said = render_moment(8, 0.5, 1)
    assert "imagens vistas" in said
    assert f"{last.contrast.trained:.3f}".replace(".", ",") in said
    assert strings.REPLAY not in said


def test_a_loop_is_told_step_by_step(client: Client) -> None:
    said, files = client.predict("a red apple", 3, 12, 2, api_name="/inside_loop")
    assert said["texts"] == [["a red apple", 1.0]]
    assert len(said["losses"]) == 12
    steps = [each["step"] for each in said["steps"]]
    assert (steps[0], steps[-1]) == (1, 12)
    assert len(files) == 2 * len(steps)
    assert not np.array(said["steps"][0]["changed"]).any()
    for fields, says in (({"prompt": " "}, "The prompt is empty"),
                         ({"prompt": "a cat", "steps": 7}, "Steps must be a whole number between"),
                         ({"prompt": "a cat", "cutouts": [1]}, "Cutouts must be a whole number"),
                         ({"prompt": "a cat", "seed": "x"}, "Seed must be")):
        assert refusal(client, "/inside_loop", **fields).startswith(says)


def test_a_prior_is_told_on_and_off(client: Client) -> None:
    said, files = client.predict("a red apple", 3, 2.0, api_name="/inside_prior")
    assert said["caption"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert len(said["others"]) == 48
    assert [len(said[kind]) for kind in ("rendered", "drawn")] == [12, 12]
    assert said["rendered"][0]["text"] == replayed_pairs().texts[0]
    assert len(said["steps"]) == 8
    assert said["with_prior"]["embedding"]["at"] == said["steps"][-1]["at"]
    assert len(files) == 2 + 3 * 8
    for fields, says in (({"prompt": ""}, "The prompt is empty"),
                         ({"prompt": "a cat", "guidance_scale": 1}, "At a guidance of 1 there is"),
                         ({"prompt": "a cat", "guidance_scale": "x"}, "Guidance must be a number")):
        assert refusal(client, "/inside_prior", **fields).startswith(says)


def test_the_pairs_that_are_filled_in_are_said_in_portuguese(app: App) -> None:
    i18n = app.page.i18n_instance
    assert i18n is not None
    pairs = [text for text in i18n.translations_dict["pt"].values() if text.count("\n") == 3]
    assert [text.splitlines()[1] for text in pairs] == ["quatro gatos"]
