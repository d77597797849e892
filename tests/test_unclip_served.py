"""unCLIP behind the real server: one request, a variation, a walk, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.container import InputContainer
from gradio_client import handle_file
from PIL import Image

from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_app import generate, refusal
from tests.test_unclip import png

FEW = {"decoder_steps": 2, "prior_steps": 2}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([UnclipPipeline()], small_cache())
    yield served
    served.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(png())
    return path


def test_pictures_and_variations(app: App, picture: Path) -> None:
    client = app.client()
    fields = {"prompt": "a red apple", "pipelines": ["unclip"], "num_images": 2, "seed": 3,
              "options": {"unclip": FEW}}
    files, details = generate(client, **fields)
    assert [panel["phase"] for panel in details["panels"]] == ["done"]
    varied, _ = generate(client, **fields, init_image=handle_file(picture))
    assert len(files) == len(varied) == 2
    assert Path(files[0]).read_bytes() != Path(varied[0]).read_bytes()
    assert "needs an init image" in refusal(
        client, **fields | {"options": {"unclip": {"picture": "difference"}}})


@pytest.mark.parametrize("values", ["yes, no", [True, False]])
def test_a_grid_with_the_prior_on_and_off(app: App, values: object) -> None:
    files, details = app.client().predict(
        "a red apple", "unclip", {"name": "prior", "values": values}, None, 3, FEW,
        api_name="/sweep")
    assert details["x"] == {"name": "prior", "values": [True, False]}
    assert len(files) == 3
    assert Path(files[1]).read_bytes() != Path(files[2]).read_bytes()


def test_a_walk_comes_as_strip_video_and_frames(app: App, picture: Path) -> None:
    client = app.client()
    files = client.predict("", "a cow", 3, 0, FEW, handle_file(picture), None, api_name="/walk")
    assert [Path(file).name for file in files] == [
        "strip.png", "walk.mp4", "frame-00.png", "frame-01.png", "frame-02.png"]
    with Image.open(files[0]) as strip:
        assert strip.size == (192, 64)
    with av.open(files[1], "r") as video:
        assert isinstance(video, InputContainer)
        assert len(list(video.decode(video=0))) == 3
    with pytest.raises(Exception, match="neither a prompt nor a picture"):
        client.predict("", "a cow", 3, 0, FEW, None, None, api_name="/walk")
    with pytest.raises(Exception, match="Frames must be a whole number between 2 and 64"):
        client.predict("a cat", "a cow", 10**6, 0, FEW, None, None, api_name="/walk")
    app.wait_until_idle()
