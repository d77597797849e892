"""The shipped generators behind the real server: with small random models, and with the trained."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

from pipelines.core.metadata import read_png
from pipelines.dalle import DallePipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.loading import CatalogueLoader, pinned
from pipelines.models.clip import ClipModel
from pipelines.models.dalle import config_dict
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.pixels import to_uint8
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.small_models import (
    LAYERS,
    SENTENCES,
    TRANSFORMER,
    WORD_PIECES,
    SmallLoader,
    clip_config,
    small_cache,
)
from tests.test_app import all_inputs, generate, huge_png, refusal
from tests.test_world import scene
from training.data import World
from training.export import export

QUICK = {"iterations": 3, "num_cutouts": 4}
WEIGHTED = "a red apple:2 | a worm:-0.5"


def shipped() -> list[Any]:
    return [DallePipeline(), VQGANCLIPPipeline()]


@pytest.fixture(scope="module")
def small() -> Iterator[App]:
    served = App(shipped(), small_cache())
    yield served
    served.close()


@pytest.fixture(scope="module")
def trained() -> Iterator[App]:
    served = App(shipped())
    yield served
    served.close()


def start(client: Client, app: App, name: str, num_images: int, options: dict[str, Any]) -> Any:
    """A job that has taken a step."""
    job = client.submit("a red apple", [name], num_images, 0, {name: options}, None,
                        api_name="/generate")
    end = time.monotonic() + 60
    while not any(details["panels"][0]["step"] for _, details in job.outputs()):
        assert time.monotonic() < end, "the job never began"
        time.sleep(0.01)
    assert app.busy()
    return job


def check_ranked(files: list[str], details: dict[str, Any], prompt: str) -> None:
    pictures = details["pictures"]
    scores = [picture["clip"] for picture in pictures]
    assert scores == sorted(scores, reverse=True)
    for file, picture in zip(files, pictures, strict=True):
        easel = read_png(Path(file).read_bytes())["easel"]
        assert easel["prompt"] == prompt
        assert (easel["pipeline"], easel["seed"]) == (picture["pipeline"], picture["seed"])
        assert easel["scores"]["clip"] == pytest.approx(picture["clip"])


# Small models ----------------------------------------------------------------------------------

@pytest.mark.parametrize("prompt", ["a red apple", WEIGHTED])
def test_two_generators_answer_one_prompt(small: App, prompt: str) -> None:
    files, details = generate(small.client(), prompt=prompt, pipelines=["dalle", "vqgan_clip"],
                              num_images=2, seed=7, options={"vqgan_clip": QUICK})
    assert [panel["phase"] for panel in details["panels"]] == ["done", "done"]
    assert len(files) == 4
    check_ranked(files, details, prompt)


@pytest.mark.parametrize(("name", "option", "value", "says"), [
    ("dalle", "guidance_scale", "NaN", "Guidance must be a number between 1 and 20, not"),
    ("dalle", "guidance_scale", 0.5, "between 1 and 20"),
    ("dalle", "temperature", 0, "Temperature must be a number between 0.1 and 2"),
    ("dalle", "temperature", "Infinity", "Temperature must be a number between 0.1 and 2"),
    ("dalle", "top_k", -1, "Top k must be a whole number between 0 and 1024"),
    ("dalle", "top_p", 10**400, "A number in the request is larger than any that Easel takes"),
    ("dalle", "top_p", 10**15, "Top p must be a number between 0.01 and 1"),
    ("dalle", "iterations", 5, "no option called"),
    ("vqgan_clip", "iterations", 10**9, "Iterations must be a whole number between 1 and 1000"),
    ("vqgan_clip", "iterations", 2.5, "Iterations must be a whole number"),
    ("vqgan_clip", "size_px", 100, "between 128 and 768"),
    ("vqgan_clip", "size_px", 129, "between 128 and 768 in steps of 64, not 129"),
    ("vqgan_clip", "step_size", "-Infinity", "Step size must be"),
    ("vqgan_clip", "noise", "nan", "Noise must be"),
    ("vqgan_clip", "optimiser", "newton", "Optimiser must be"),
    ("vqgan_clip", "flip", "perhaps", "Mirror must be true or false"),
    ("vqgan_clip", "init_weight", 1, "Init weight needs an init image"),
])
def test_options_out_of_range_are_refused(small: App, name: str, option: str, value: Any,
                                          says: str) -> None:
    assert says in refusal(small.client(), pipelines=[name], options={name: {option: value}})
    assert not small.busy()


@pytest.mark.parametrize(("prompt", "says"), [
    ("a red apple:1000", "weight of 'a red apple' must be between -100 and 100"),
    ("a red apple:nan", "must be between -100 and 100"),
    ("a red apple | ", "has no text"),
    ("a red apple:0", "All weights of the prompt are 0"),
    ("|".join(["cat"] * 17), "17 parts"),
])
def test_malformed_weights_are_refused(small: App, prompt: str, says: str) -> None:
    assert says in refusal(small.client(), prompt=prompt, pipelines=["vqgan_clip"])


def test_real_nan_is_refused(small: App) -> None:
    """The client cannot say NaN, a program of one's own can."""
    body = json.dumps({"data": all_inputs({"dalle": {"guidance_scale": float("nan")}},
                                          ["dalle"])})
    assert "NaN" in body
    answer = httpx.post(f"{small.url}gradio_api/call/generate", content=body, timeout=10,
                        headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        event = answer.json()["event_id"]
        text = httpx.get(f"{small.url}gradio_api/call/generate/{event}", timeout=10).text
        assert "event: error" in text
        assert "is not finite" in text
    else:
        assert 400 <= answer.status_code < 500
    assert not small.busy()


@pytest.mark.parametrize("name", ["dalle", "vqgan_clip"])
@pytest.mark.parametrize("make", [
    lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', lambda: huge_png(20_000)],
    ids=["svg", "huge"])
def test_wrong_init_images_are_refused(small: App, tmp_path: Path, name: str,
                                       make: Callable[[], bytes]) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(make())
    said = refusal(small.client(), pipelines=[name], init_image=handle_file(str(file)))
    assert ("does not start from a picture" if name == "dalle" else "picture") in said


def test_uploaded_pictures_are_ranked(small: App, tmp_path: Path) -> None:
    files = []
    for colour, side_px in (("red", 32), ("blue", 3000), ("white", 200)):
        files.append(tmp_path / f"{colour}.png")
        Image.new("RGB", (side_px, side_px // 2), colour).save(files[-1])
    best, found = small.client().predict(
        [handle_file(str(file)) for file in files], ["a red apple:2"], ["snow"], None, 2,
        api_name="/rerank")
    assert found["prompts"] == [{"text": "a red apple", "weight": 2},
                                {"text": "snow", "weight": -1}]
    assert sorted(found["order"]) == [0, 1, 2]
    best_first = [found["scores"][i] for i in found["order"]]
    assert best_first == sorted(best_first, reverse=True)
    [judge] = found["clips"].values()
    cosines = np.array(judge["similarities"])
    assert cosines.shape == (3, 2)
    assert np.allclose(cosines @ [2 / 3, -1 / 3], judge["scores"], atol=1e-6)
    assert found["kept"] == found["order"][:2]
    for file, index in zip(best, found["kept"], strict=True):
        assert Path(file).read_bytes() == files[index].read_bytes()


def test_stop_during_a_step_keeps_the_best_so_far(small: App) -> None:
    client = small.client()
    job = start(client, small, "vqgan_clip", 2, {"iterations": 1000, "num_cutouts": 4})
    assert client.predict(api_name="/stop") == 1
    files, details = job.result(timeout=60)
    assert len(files) == 2
    assert details["panels"][0]["phase"] == "stopped"
    assert read_png(Path(files[0]).read_bytes())["easel"]["stopped"] is True
    small.wait_until_idle()
    assert generate(client, pipelines=["dalle"], num_images=1)[0]


def test_a_closed_tab_frees_the_device(small: App) -> None:
    session = {"session_hash": "closedtab2"}
    config = httpx.get(f"{small.url}config").json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == "generate")
    data, ran = all_inputs({"vqgan_clip": {"iterations": 1000}}, ["vqgan_clip"]), False
    httpx.post(f"{small.url}gradio_api/queue/join",
               json={"data": data, "fn_index": index, **session}).raise_for_status()
    with httpx.stream("GET", f"{small.url}gradio_api/queue/data", params=session,
                      timeout=20) as events:
        for line in events.iter_lines():
            ran = "process_generating" in line and small.busy()
            if ran:
                break
    assert ran, "there was something to free"
    small.wait_until_idle(10.0)
    assert generate(small.client(), pipelines=["dalle"], num_images=1)[0]


# Damaged files ---------------------------------------------------------------------------------

CONFIGS = {
    "layer-vqgan": ("vqgan", asdict(LAYERS)), "minilm": ("minilm", SENTENCES),
    "dalle": ("dalle", config_dict(TRANSFORMER)), "clip-ranker": ("clip", clip_config(32)),
}


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[tuple[App, Path]]:
    """DALL·E with small models in files, pinned; and the folder of the files."""
    loader, entries = SmallLoader(), []
    for name, (architecture, config) in CONFIGS.items():
        model = loader.load(f"embedded/{name}", torch.device("cpu"), torch.float32)
        model = model.module if isinstance(model, ClipModel | SentenceEncoder) else model
        parts, names = {}, ["config.json", "model.safetensors"]
        if name == "dalle":
            parts = {"text": "embedded/minilm", "vqgan": "embedded/layer-vqgan"}
            for part in parts:
                delattr(model, part)
        export(model, name, architecture, config, "A test.", tmp_path)
        if name == "minilm":
            shutil.copy(WORD_PIECES, tmp_path / name)
            names.append(WORD_PIECES.name)
        family = architecture if name in ("dalle", "clip-ranker") else "features"
        entries.append(CatalogueEntry(
            id=f"embedded/{name}", title=name, family=family, licence="Apache-2.0",
            source="made by a test", parts=parts,
            files=tuple(ModelFile(name=each) for each in names)))
    catalogue = pinned(Catalogue(tuple(entries), tmp_path))
    served = App([DallePipeline()], ModelCache(CatalogueLoader(catalogue), "cpu"))
    yield served, tmp_path
    served.close()


def test_a_damaged_weight_file_is_said_and_a_repaired_one_loads(on_disk: tuple[App, Path]) -> None:
    app, folder = on_disk
    client, file = app.client(), folder / "layer-vqgan" / "model.safetensors"
    good = file.read_bytes()
    for bad, says in ((good[:-1000], "embedded/layer-vqgan is damaged"), (b"", "is damaged"),
                      (good[:-1] + bytes([good[-1] ^ 1]), "is damaged"), (None, "is not there")):
        file.unlink()
        if bad is not None:
            file.write_bytes(bad)
        assert says in refusal(client, pipelines=["dalle"], num_images=1)
        app.wait_until_idle()
    file.write_bytes(good)
    assert len(generate(client, pipelines=["dalle"], num_images=1)[0]) == 1


# Trained models --------------------------------------------------------------------------------

@pytest.mark.weights
def test_trained_generators_answer_one_prompt(trained: App) -> None:
    prompt = "a red apple next to a blue car at the beach"
    files, details = generate(trained.client(), prompt=prompt, pipelines=["dalle", "vqgan_clip"],
                              num_images=2, seed=7, options={"vqgan_clip": QUICK})
    assert [panel["phase"] for panel in details["panels"]] == ["done", "done"]
    check_ranked(files, details, prompt)
    for file in files:
        picture = np.asarray(Image.open(file))
        assert min(picture.shape[:2]) >= 256
        assert picture.std() > 5, "not one flat colour"


@pytest.mark.weights
def test_a_trained_candidate_is_drawn_again_alone(trained: App) -> None:
    client = trained.client()
    files, details = generate(client, pipelines=["dalle"], num_images=2, seed=7)
    seed = details["pictures"][1]["seed"]
    alone, _ = generate(client, pipelines=["dalle"], num_images=1, seed=seed)
    together = np.asarray(Image.open(files[1])).astype(int)
    # The decoder's sums may round otherwise in another batch; the codes are the same.
    assert np.abs(together - np.asarray(Image.open(alone[0]))).max() <= 2


@pytest.mark.weights
def test_trained_dalle_is_stopped_within_a_step(trained: App) -> None:
    client = trained.client()
    job = start(client, trained, "dalle", 8, {"preview_every": 1})
    client.predict(api_name="/stop")
    files, details = job.result(timeout=60)
    assert (len(files), details["panels"][0]["phase"]) == (8, "stopped")
    trained.wait_until_idle()


@pytest.mark.weights
def test_trained_vqgan_clip_starts_from_a_picture(trained: App, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 160), "teal").save(buffer, "JPEG")
    (tmp_path / "teal.jpg").write_bytes(buffer.getvalue())
    files, _ = generate(trained.client(), prompt=WEIGHTED, pipelines=["vqgan_clip"], num_images=1,
                        init_image=handle_file(str(tmp_path / "teal.jpg")),
                        options={"vqgan_clip": QUICK | {"init_weight": 10}})
    red, green, blue = np.asarray(Image.open(files[0])).reshape(-1, 3).mean(axis=0)
    assert red < min(green, blue), "still teal after three steps"


@pytest.mark.weights("clip-ranker")
def test_the_trained_ranker_finds_each_captions_picture(trained: App, tmp_path: Path) -> None:
    scenes = {"a red car": scene("car", "red"), "a blue car": scene("car", "blue"),
              "a dog on the grass": scene("dog", background="grass"),
              "a banana on a black background": scene("banana", background="black")}
    files = []
    for i, pixels in enumerate(World().renderer.render(list(scenes.values()), 128)):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(to_uint8(2 * pixels[None] - 1)[0]).save(files[-1])
    client, uploads = trained.client(), [handle_file(str(file)) for file in files]
    best = [client.predict(uploads, [prompt], api_name="/rerank")[1]["order"][0]
            for prompt in scenes]
    assert best == [0, 1, 2, 3]
