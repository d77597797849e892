"""The photographs' CLIP, the models that are made of others, and what it is measured on."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.photographs import shares_right
from pipelines.core.errors import WeightsError
from pipelines.core.images import load_image
from pipelines.models import minilm, photo_clip
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import CatalogueLoader, is_complete, load_model
from pipelines.models.checkpoints.tensor_files import memory_bytes
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.photo_clip import PhotoClip
from pipelines.models.pixels import to_squares
from pipelines.rerank import rank
from tests.test_pretrained import SMALL, small_encoder, small_tokenizer
from training.export import export
from training.fit_photo_clip import best_scale, cross_validated, fit, looked, ridge
from training.photographs import Captioned, first_sentence

PHOTOGRAPHS = Path(gradio.__file__).parent / "media_assets" / "images"
CONFIG = {"width": 16, "top": 3, "temperature": 1.0, "classes_share": 0.5}


def small_clip(generator: torch.Generator) -> PhotoClip:
    clip = PhotoClip(**CONFIG)
    clip.image, clip.text = EfficientNet().eval(), small_encoder()
    with torch.no_grad():
        for parameter in (clip.classes, clip.mean, clip.features_mean, clip.fitted):
            parameter.normal_(0, 0.1, generator=generator)
        clip.log_scale.fill_(2.0)
    return clip.requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The three models of a small photographs' CLIP, and their catalogue."""
    export(EfficientNet(), "image", "efficientnet", {}, "A test.", tmp_path)
    export(minilm.build(SMALL), "text", "minilm", SMALL, "A test.", tmp_path)
    small_tokenizer().save(str(tmp_path / "text" / "tokenizer.json"))
    clip = small_clip(torch.Generator().manual_seed(0))
    del clip.image, clip.text
    export(clip, "clip", "photo_clip", CONFIG, "A test.", tmp_path)
    entries = []
    for name, family, files in (("image", "features", ""), ("text", "sentences", "tokenizer.json"),
                                ("clip", "clip", "")):
        entries += ["[[models]]", f'id = "embedded/{name}"', f'title = "{name}"',
                    f'family = "{family}"', 'licence = "MIT"', 'source = "a test"']
        if name == "clip":
            entries += ['parts = {image = "embedded/image", text = "embedded/text"}']
        for file in ("config.json", "model.safetensors", *files.split()):
            entries += ["[[models.files]]", f'name = "{file}"']
    (tmp_path / "catalogue.toml").write_text("\n".join(entries))
    return tmp_path


def test_a_model_is_lent_with_its_parts(folder: Path) -> None:
    catalogue = Catalogue.load(folder / "catalogue.toml", folder)
    loader = CatalogueLoader(catalogue)
    with ModelCache(loader).lease("embedded/clip") as clip:
        assert isinstance(clip, PhotoClip)
        assert isinstance(clip.image, EfficientNet)
        assert clip.encode_text(["a dog"]).shape == (1, 16)
        assert not any(parameter.requires_grad for parameter in clip.parameters())
    parts = [folder / name / "model.safetensors" for name in ("clip", "image", "text")]
    assert loader.size_bytes("embedded/clip", torch.float32) == sum(
        memory_bytes(path, torch.float32) for path in parts)
    before = loader.fingerprint("embedded/clip")
    export(EfficientNet(), "image", "efficientnet", {}, "Another.", folder)
    with ModelCache(loader).lease("embedded/clip"):
        assert loader.fingerprint("embedded/clip") != before, "a part is of the fingerprint"
    assert is_complete(catalogue, catalogue.get("embedded/clip"))
    shutil.rmtree(folder / "text")
    assert not is_complete(catalogue, catalogue.get("embedded/clip"))
    with pytest.raises(WeightsError, match=r"of the model embedded/text is not there\.$"):
        load_model(catalogue, catalogue.get("embedded/clip"))


def test_models_on_the_cpu_share_a_part_until_its_file_is_exchanged(folder: Path) -> None:
    catalogue = Catalogue.load(folder / "catalogue.toml", folder)
    loader = CatalogueLoader(catalogue)
    one, two = (loader.load("embedded/clip", torch.device("cpu"), torch.float32) for _ in range(2))
    assert one is not two
    assert one.text is two.text
    assert one.image is two.image
    half = loader.load("embedded/clip", torch.device("cpu"), torch.bfloat16)
    assert half.image is not one.image
    assert isinstance(one.image, torch.nn.Module)
    assert next(one.image.parameters()).dtype == torch.float32
    export(EfficientNet(), "image", "efficientnet", {}, "Another.", folder)
    three = loader.load("embedded/clip", torch.device("cpu"), torch.float32)
    assert three.image is not one.image
    assert three.text is one.text
    shutil.rmtree(folder / "text")
    with pytest.raises(WeightsError, match=r"of the model embedded/text is not there\.$"):
        loader.load("embedded/clip", torch.device("cpu"), torch.float32)


def test_parts_are_known_and_have_none_themselves(folder: Path) -> None:
    catalogue = Catalogue.load(folder / "catalogue.toml", folder)
    clip = catalogue.get("embedded/clip")
    for wrong in ("embedded/nobody", "embedded/clip"):
        entry = clip.model_copy(update={"parts": {"image": wrong}})
        with pytest.raises(WeightsError, match=r"\.$"):
            load_model(catalogue, entry)
    own = folder / "own.toml"
    own.write_text('[[models]]\nid = "me/mine"\ntitle = "t"\nfamily = "clip"\nlicence = "MIT"\n'
                   'source = "s"\npath = "x"\nparts = {image = "no/body"}\nfiles = []\n')
    catalogue.add_user_entries(own)
    assert "no/body" in catalogue.faults[0]
    assert "me/mine" not in {entry.id for entry in catalogue}


def test_it_has_the_interface_of_a_clip(generator: torch.Generator) -> None:
    clip = small_clip(generator)
    pixels = torch.rand(2, 3, 64, 48, generator=generator, requires_grad=True)
    features = clip.encode_image(pixels)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))
    features[0, 0].backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    images = [np.zeros((30, 40, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)]
    found = rank(images, ["a dog"], clip)  # type: ignore[arg-type]
    assert sorted(found[0]["order"]) == [0, 1]
    assert clip.logit_scale == pytest.approx(np.e**2, rel=1e-4)
    assert clip.logit_bias is None
    with pytest.raises(TypeError):
        photo_clip.build({"width": 3})


def test_the_fit_finds_a_matrix_that_is_there(generator: torch.Generator) -> None:
    inputs = torch.randn(200, 12, generator=generator)
    true = torch.randn(5, 12, generator=generator)
    torch.testing.assert_close(ridge(inputs, inputs @ true.t(), 1e-6), true, atol=1e-3, rtol=1e-3)
    assert ridge(inputs, inputs @ true.t(), 1e3).norm() < 0.2 * true.norm()
    clip = small_clip(generator)
    features = torch.rand(60, 1280, generator=generator)
    directions = F.normalize(features, dim=-1)
    captions = F.normalize((directions - directions.mean(0)) @ torch.randn(
        1280, 16, generator=generator), dim=-1)
    fit(clip, features, captions, 1e-3)
    fitted = (looked(clip, features) * captions).sum(-1).mean()
    held_out, share = cross_validated(clip, features, captions, 1e-3)
    assert fitted > 0.9
    assert float((held_out * captions).sum(-1).mean()) < fitted, "folds were not seen"
    assert 0 <= share <= 1
    sure, unsure = (best_scale(captions if good else held_out, captions, generator)
                    for good in (True, False))
    assert sure >= unsure


def test_shares_right() -> None:
    texts = np.eye(12, dtype=np.float32)
    assert shares_right(texts, texts) == dict.fromkeys(
        ("picture_to_text_r1", "picture_to_text_r10", "text_to_picture_r1",
         "text_to_picture_r10"), 1.0)
    swapped = texts[[1, 0, *range(2, 12)]]
    found = shares_right(swapped, texts)
    assert found["picture_to_text_r1"] == pytest.approx(10 / 12)
    assert found["picture_to_text_r10"] == 1.0


@pytest.mark.parametrize(("description", "caption"), [
    ("A frog.\npt.utf8=Uma rã.", "A frog"), ("Rook. Can only move forward.", "Rook"),
    ("Yum! A cake.", "Yum"), ("", ""), ("\nA frog.", ""), ("one two " * 6, "")])
def test_captions_of_stamps(description: str, caption: str) -> None:
    assert first_sentence(description) == caption


def test_a_picture_with_an_outline_is_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (Captioned(tmp_path / "a.png", "nothing").pixels() == 255).all()


@pytest.mark.weights("clip-photos", "efficientnet-lite0", "minilm")
def test_the_shipped_clip_knows_photographs() -> None:
    catalogue = Catalogue.load()
    clip = load_model(catalogue, catalogue.get("embedded/clip-photos"))
    assert isinstance(clip, PhotoClip)
    names = {"cheetah1.jpg": "a cheetah", "lion.jpg": "a lion", "tower.jpg": "a tower"}
    images = [load_image((PHOTOGRAPHS / name).read_bytes()) for name in names]
    with torch.no_grad():
        seen = clip.encode_image(to_squares(images, clip.image_size, "cpu"))
        similarities = seen @ clip.encode_text([*names.values(), "a bus", "a cup of tea"]).t()
    assert similarities.argmax(1).tolist() == [0, 1, 2]
    assert float((similarities * clip.logit_scale).softmax(1).max(1).values.min()) > 0.4
