"""Init image, image prompts and mask of a comparison or a grid: who is given them, by every way."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import handle_file

from easel.cli.main import main
from easel.compare.bundle import FACTS, INDEX, BundleError, read_zip
from easel.compare.plan import plan_comparison
from easel.compare.sweeps import PIPELINE, SEED, Axis, plan_sweep
from easel.serving.backend import LocalBackend
from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.events import Result
from pipelines.core.metadata import read_png
from pipelines.registry import Registry
from tests.noise import linear_cache
from tests.paused_server import FEW, Server, cache, server
from tests.served import App
from tests.sketch import SketchPipeline
from tests.test_mcp_door import call, facts
from tests.test_mcp_door import pictures as files_of
from tests.test_request_pictures import masked
from tests.test_vqgan_clip import picture

__all__ = ["cache", "server"]

START, ONE, OTHER, MASK = picture("teal", (50, 40)), picture("red"), picture("navy"), masked()
GIVEN: dict[str, Any] = {"init_image": START, "image_prompts": [ONE, OTHER], "mask": MASK}
HASHES = {"init_image_sha256": sha256(START).hexdigest(), "mask_sha256": sha256(MASK).hexdigest(),
          "image_prompts_sha256": [sha256(each).hexdigest() for each in (ONE, OTHER)]}
PANES: list[dict[str, Any]] = [{"pipeline": "collage", "options": {"steps": 2, "pause_s": 0}},
                               {"pipeline": "sketch", "options": {"steps": 2, "pause_s": 0}}]


class Collage(SketchPipeline):
    """A sketch that may be given every picture."""

    name, title = "collage", "Collage"
    accepts_image_prompts = accepts_mask = True


def made() -> Registry:
    registry = Registry()
    for pipeline in (Collage(), SketchPipeline()):
        registry.register(pipeline)
    return registry


def hashes(data: bytes) -> dict[str, Any]:
    said = read_png(data)["easel"]
    return {name: said[name] for name in HASHES if name in said}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([Collage(), SketchPipeline()], queue_size=4)
    yield served
    served.close()


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    """The pictures as files, by the arguments of an endpoint."""
    found: dict[str, Any] = {}
    for name, data in (("start", START), ("one", ONE), ("other", OTHER), ("mask", MASK)):
        found[name] = tmp_path / f"{name}.png"
        found[name].write_bytes(data)
    return found


def endpoint(paths: dict[str, Any]) -> dict[str, Any]:
    return {"init_image": handle_file(paths["start"]), "mask": handle_file(paths["mask"]),
            "image_prompts": [handle_file(paths["one"]), handle_file(paths["other"])]}


def test_panes_are_given_what_their_generators_take() -> None:
    plan = plan_comparison(made(), "a cat", PANES, 1, pictures=GIVEN)
    collage, sketch = plan.requests
    assert (collage.init_image, list(collage.image_prompts), collage.mask) == (
        START, [ONE, OTHER], MASK)
    assert (sketch.init_image, sketch.image_prompts, sketch.mask) == (START, (), None)
    assert list(plan.pictures) == list(collage.pictures)
    assert plan_comparison(made(), "a cat", PANES, 1).pictures == {}


@pytest.mark.parametrize(("pictures", "says"), [
    ({"image_prompts": [ONE]}, "Sketch takes no image prompts."),
    ({"mask": MASK}, "Sketch takes no mask."),
    ({"init_image": START, "image_prompts": [ONE]}, "Sketch takes no image prompts.")])
def test_what_no_pane_takes_is_refused(pictures: dict[str, Any], says: str) -> None:
    two = [{"pipeline": "sketch"}, {"pipeline": "sketch", "seed": 4}]
    with pytest.raises(InvalidRequest) as caught:
        plan_comparison(made(), "a cat", two, pictures=pictures)
    assert str(caught.value) == says
    with pytest.raises(InvalidRequest) as caught:
        plan_sweep(made(), {"pipeline": "sketch", "prompt": "a cat", "seed": 1, **pictures},
                   Axis(SEED, (1, 2)), Axis(), {})
    assert str(caught.value) == says


def test_pictures_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidImage, match="Image prompt 2: The file is not a PNG"):
        plan_comparison(made(), "a cat", PANES, pictures={"image_prompts": [ONE, b"<svg/>"]})


def test_cells_are_given_what_their_generators_take() -> None:
    base = {"pipeline": "collage", "prompt": "a cat", "seed": 1, **GIVEN}
    sweep = plan_sweep(made(), base, Axis(SEED, (1, 2)), Axis(PIPELINE, ("sketch", "collage")), {})
    assert [list(each.image_prompts) for each in sweep.requests] == [
        [], [], [ONE, OTHER], [ONE, OTHER]]
    assert {each.init_image for each in sweep.requests} == {START}
    assert [each.mask for each in sweep.requests] == [None, None, MASK, MASK]


def test_a_comparison_of_a_program_is_saved_opened_and_drawn_again(
        app: App, paths: dict[str, Any], tmp_path: Path) -> None:
    client = app.client()
    files, details = client.predict("a cat", PANES, **endpoint(paths), api_name="/compare")
    found = [hashes(Path(each).read_bytes()) for each in files]
    assert found == [HASHES, {"init_image_sha256": HASHES["init_image_sha256"]}]
    saved = client.predict(details["comparison"], api_name="/bundle_export")
    data = Path(saved).read_bytes()
    bundle = read_zip(data)
    assert bundle.pictures == {**GIVEN, "image_prompts": (ONE, OTHER)}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        page = archive.read(INDEX).decode()
    for each in bundle.facts.inputs:
        assert f'src="{each.file}"' in page
    assert len(bundle.facts.inputs) == 4
    opened, told = client.predict(handle_file(saved), api_name="/bundle_open")
    assert [hashes(Path(each).read_bytes()) for each in opened] == found
    # What was opened is saved with its pictures too.
    again = client.predict(told["comparison"], api_name="/bundle_export")
    assert read_zip(Path(again).read_bytes()).pictures == bundle.pictures
    replayed, _ = client.predict(handle_file(saved), api_name="/bundle_replay")
    assert [hashes(Path(each).read_bytes()) for each in replayed] == found


def test_a_bundle_whose_input_was_changed_is_refused_and_an_old_one_is_read(
        app: App, paths: dict[str, Any]) -> None:
    client = app.client()
    _, details = client.predict("a cat", PANES, **endpoint(paths), api_name="/compare")
    saved = client.predict(details["comparison"], api_name="/bundle_export")
    with zipfile.ZipFile(saved) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def packed(changes: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in (files | changes).items():
                archive.writestr(name, data)
        return buffer.getvalue()

    with pytest.raises(BundleError, match=r"inputs/mask\.png is missing or was changed"):
        read_zip(packed({"inputs/mask.png": ONE}))
    told = json.loads(files[FACTS])
    of_old = {name: value for name, value in told.items() if name != "inputs"} | {"version": 1}
    old = read_zip(packed({FACTS: json.dumps(of_old).encode()}))
    assert old.pictures == {"init_image": None, "image_prompts": (), "mask": None}
    assert len(old.facts.panes) == 2


def test_a_grid_of_a_program_holds_them(app: App, paths: dict[str, Any]) -> None:
    files, details = app.client().predict(
        "a cat", "collage", {"name": "seed", "values": "1..2"}, None, None, PANES[0]["options"],
        **endpoint(paths), api_name="/sweep")
    assert len(details["cells"]) == 2
    assert [hashes(Path(each).read_bytes()) for each in files] == [HASHES] * 3


def test_the_generators_say_what_they_take(app: App) -> None:
    told = app.client().predict(api_name="/pipelines")
    assert [[told[name][f"accepts_{each}"] for each in GIVEN] for name in ("collage", "sketch")
            ] == [[True, True, True], [True, False, False]]


def test_an_assistants_comparison_holds_them(app: App) -> None:
    start, one, mask = (base64.b64encode(each).decode() for each in (START, ONE, MASK))
    result = call(app, "compare", {
        "prompt": "a cat", "init_image": start, "image_prompts": [one], "mask": mask,
        "panes": [{"generator": pane["pipeline"], "options": pane["options"]} for pane in PANES]})
    assert len(facts(result)["panes"]) == 2
    collage, sketch = (hashes(each) for each in files_of(result))
    assert collage == {**HASHES, "image_prompts_sha256": HASHES["image_prompts_sha256"][:1]}
    assert sketch == {"init_image_sha256": HASHES["init_image_sha256"]}


def command(*args: str) -> int:
    return main(list(args), LocalBackend(made(), linear_cache()))


def options_of(paths: dict[str, Any]) -> list[str]:
    return ["--init-image", str(paths["start"]), "--image-prompt", str(paths["one"]),
            "--image-prompt", str(paths["other"]), "--mask", str(paths["mask"])]


def test_the_command_line_compares_and_sweeps_with_them(
        paths: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panes = ["--pane", "collage:steps=2,pause_s=0", "--pane", "sketch:steps=2,pause_s=0"]
    assert command("compare", "a cat", *panes, *options_of(paths), "--out",
                   str(tmp_path / "both.zip")) == 0
    bundle = read_zip((tmp_path / "both.zip").read_bytes())
    assert bundle.pictures == {**GIVEN, "image_prompts": (ONE, OTHER)}
    assert hashes(bundle.files["pictures/a-01.png"]) == HASHES
    (tmp_path / "list.txt").write_text("a cat\na dog\n")
    assert command("grid", str(tmp_path / "list.txt"), "--pipeline", "collage", "--option",
                   "steps=2", *options_of(paths), "--out", str(tmp_path / "sheet")) == 0
    drawn = [path.read_bytes() for path in (tmp_path / "sheet").glob("*.png")]
    assert [hashes(each) for each in drawn] == [HASHES] * 3
    capsys.readouterr()
    assert command("compare", "a cat", *panes, "--mask", "missing.png") == 2
    assert "The picture missing.png cannot be read" in capsys.readouterr().err


def test_a_swept_weight_pulls_vqgan_clip(server: Server) -> None:
    """Down to the pixels: the cells of an axis of weights differ, and so from no image prompt."""
    base = {"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 5,
            "options": FEW, "image_prompts": [ONE]}
    sweep = plan_sweep(server.backend.registry, base,
                       Axis("image_prompt_weights", ("4", "-4")), Axis(), {})
    drawn = []
    for request in (*sweep.requests, server.backend.registry.check(
            {**base, "num_images": 1, "image_prompts": []})):
        result = list(server.backend.stream(request))[-1]
        assert isinstance(result, Result)
        drawn.append(result.candidates[0].image)
    assert not any(np.array_equal(drawn[a], drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
