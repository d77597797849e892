"""Which CLIP judges which pictures, why, and what it cannot judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio
import numpy as np
import pytest
import torch
from PIL import Image

from easel.ui.lab.example import COLLECTION
from easel.ui.lab.outcomes import Classified, Matrix
from easel.ui.lab.render import render_many, render_matrix, render_one
from easel.ui.parts.names import with_names
from easel.ui.parts.samples import SAMPLES
from easel.ui.parts.suited import MAX_LOOKED, Suited, render_suited, suited
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.errors import OutOfMemory
from pipelines.core.images import load_image
from pipelines.core.metadata import encode_png
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.clip_features import Features
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.familiarity import Familiarity
from pipelines.ranker_choice import best_for_photographs
from pipelines.suited import (
    BY_PICTURES,
    PHOTO_CLIP,
    better_clip,
    misfits,
    suited_clip,
    unlike_the_world,
)
from pipelines.zero_shot import Classification
from tests.lab import lab_backend, write_pictures
from training.fit_familiarity import REFUSED, threshold

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = Path(gradio.__file__).parent / "media_assets" / "images"
TITLES = {RANKER: "ranker CLIP", PHOTO_CLIP: "photo CLIP", "public": "<b>public</b>"}


class Looking:
    """A backend that finds bright pictures unlike the world."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.looked = fault, 0

    def unlike_the_world(self, images: Sequence[np.ndarray], job_id: str | None = None,
                         ) -> np.ndarray:
        if self.fault:
            raise self.fault
        self.looked += len(images)
        return np.array([image.mean() > 128 for image in images], bool)


def pictures(folder: Path, brightness: Sequence[int]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for n, value in enumerate(brightness):
        paths.append(folder / f"{n}.png")
        Image.new("RGB", (300, 200), (value, value, value)).save(paths[-1])
    return paths


def test_the_nearest_scene_decides(generator: torch.Generator) -> None:
    model = Familiarity(3, 0.9)
    model.known.data = 5 * torch.eye(3, 1280)
    features = torch.zeros(2, 1280)
    features[0, 1], features[1, 0], features[1, 7] = 2.0, 1.0, 1.0
    torch.testing.assert_close(model.nearness(features), torch.tensor([1.0, 0.5**0.5]))
    model.image = EfficientNet().eval()
    model.requires_grad_(False)
    images = [np.full((20, 30, 3), 40 * n, np.uint8) for n in range(5)]
    model.least = 2.0
    assert unlike_the_world(images, model).all()
    model.least = -2.0
    assert not unlike_the_world(images, model).any()
    assert unlike_the_world([], model).shape == (0,)


def test_the_threshold_refuses_a_share() -> None:
    assert threshold(torch.linspace(0, 1, 1001)) == pytest.approx(REFUSED, abs=1e-3)


def test_most_of_the_pictures_choose() -> None:
    assert suited_clip(np.array([True, True, False])) == PHOTO_CLIP
    assert suited_clip(np.array([True, False])) == RANKER
    assert suited_clip(np.zeros(0, bool)) == RANKER
    assert suited_clip(np.array([True]), "openai/clip-vit-b-32") == "openai/clip-vit-b-32"


def test_a_public_clip_that_is_here_judges_photographs(tmp_path: Path) -> None:
    """The best of those, as for the pictures of public generators; Easel's own where none is."""
    here = ["embedded/clip-photos", "openai/clip-vit-b-32", "google/siglip2-b-32"]
    assert best_for_photographs(here) == "google/siglip2-b-32"
    assert best_for_photographs(here[:1]) == PHOTO_CLIP
    photos, own = pictures(tmp_path, [200, 220, 10]), pictures(tmp_path / "own", [10, 11])
    found = suited(Looking(), BY_PICTURES, photos, here=here)  # type: ignore[arg-type]
    assert (found.model_id, found.of(photos)) == ("google/siglip2-b-32", [False] * 3)
    said = render_suited(found, {"google/siglip2-b-32": "SigLIP 2"}, "lab")
    assert f"{with_names('SigLIP 2')}: chosen because the pictures are unlike Easel" in said
    assert "people" not in said
    assert suited(Looking(), BY_PICTURES, own, here=here).model_id == RANKER  # type: ignore
    unlike = np.array([True, False])
    assert misfits(RANKER, unlike).tolist() == [True, False]
    assert misfits("embedded/clip-guide", unlike).tolist() == [True, False]
    assert misfits(PHOTO_CLIP, unlike).tolist() == [False, True]
    assert not misfits("openai/clip-vit-b-32", unlike).any()
    assert better_clip(PHOTO_CLIP) == RANKER
    assert better_clip(RANKER) == PHOTO_CLIP


def test_a_choice_knows_which_files_it_cannot_judge(tmp_path: Path) -> None:
    paths = pictures(tmp_path, [200, 220, 10])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = suited(Looking(), BY_PICTURES, [*paths, tmp_path / "broken.png"])  # type: ignore
    assert (found.model_id, found.by_pictures) == (PHOTO_CLIP, True)
    assert found.of(paths) == [False, False, True]
    assert found.of([tmp_path / "broken.png"]) == [False]
    wanted = suited(Looking(), RANKER, paths)  # type: ignore[arg-type]
    assert (wanted.model_id, wanted.by_pictures) == (RANKER, False)
    assert wanted.of(paths) == [True, True, False]


def test_pictures_that_the_embedded_models_drew_from_words_are_no_misfits(tmp_path: Path) -> None:
    own = {"weights": {"embedded/dalle": "a", "embedded/vqgan": "b"}}
    others: list[dict[str, Any]] = [
        {}, {"weights": {}}, {"weights": 5}, {"weights": {"embedded/vqgan": "b", "public/f": "c"}},
        {"weights": {"embedded/vqgan": "b"}, "init_image_sha256": "d"}]
    white = np.full((8, 8, 3), 255, np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(1 + len(others))]
    for path, facts in zip(paths, [own, *others], strict=True):
        path.write_bytes(encode_png(white, facts))
    found = suited(Looking(), RANKER, paths)  # type: ignore[arg-type]
    assert found.of(paths) == [False, *[True] * len(others)]
    assert suited(Looking(), BY_PICTURES, paths[:1]).model_id == RANKER  # type: ignore[arg-type]


@pytest.mark.weights("familiarity", "efficientnet-lite0")
def test_easels_own_examples_suit_the_ranker() -> None:
    catalogue = Catalogue.load()
    model: Any = load_model(catalogue, catalogue.get("embedded/familiarity"))
    backend: Any = SimpleNamespace(
        unlike_the_world=lambda images, job_id=None: unlike_the_world(images, model))
    paths = sorted([*COLLECTION.glob("*.png"), *SAMPLES.glob("*.png")])
    found = suited(backend, BY_PICTURES, paths)
    assert (found.model_id, any(found.of(paths))) == (RANKER, False)
    assert "all but" not in render_suited(found, TITLES, "lab")


def test_no_more_pictures_are_looked_at_than_tell(tmp_path: Path) -> None:
    looking = Looking()
    suited(looking, BY_PICTURES, pictures(tmp_path, [9] * (MAX_LOOKED + 3)))  # type: ignore
    assert looking.looked == MAX_LOOKED


def test_a_chosen_clip_judges_where_pictures_cannot_be_looked_at(tmp_path: Path) -> None:
    full: Any = Looking(OutOfMemory("The device is full."))
    assert suited(full, RANKER, pictures(tmp_path, [9])) == Suited(RANKER)
    with pytest.raises(OutOfMemory):
        suited(full, BY_PICTURES, pictures(tmp_path, [9]))


def test_it_is_said_who_judges_and_why() -> None:
    one, two = Path("a.png"), Path("b.png")
    assert render_suited(Suited("public"), TITLES, "lab") == ""
    chosen = render_suited(Suited(PHOTO_CLIP, True, {one: False}), TITLES, "lab")
    assert "photo CLIP: chosen because the pictures are unlike" in chosen
    assert "data-wish" not in chosen
    for found in (Suited(PHOTO_CLIP, True, {one: False}), Suited(PHOTO_CLIP)):
        assert "The photo CLIP does not know people" in render_suited(found, TITLES, "lab")
    assert "people" not in render_suited(Suited(RANKER, True, {one: False}), TITLES, "lab")
    wrong = render_suited(Suited(RANKER, False, {one: True}), TITLES, "rerank")
    assert "The ranker CLIP has seen nothing like this" in wrong
    assert f'data-wish="rerank" data-clip="{PHOTO_CLIP}"' in wrong
    some = render_suited(Suited(PHOTO_CLIP, False, {one: True, two: False}), TITLES, "lab")
    assert ("nothing like some of these pictures, 1 of 2: what is grey or marked with a “?” means "
            "little") in some
    assert f'data-clip="{RANKER}"' in some
    few = render_suited(Suited(RANKER, True, {one: True, two: False}), TITLES, "lab")
    assert "suits all but 1 of them" in few  # the other one would suit fewer
    assert "misfits" not in few
    assert "<b>" not in render_suited(Suited("public", True, {one: True}), TITLES, "lab")
    with speaking(PORTUGUESE):
        assert "O CLIP de fotos não conhece pessoas" in render_suited(
            Suited(PHOTO_CLIP), TITLES, "rerank")
        assert "O CLIP avaliador não viu nada parecido" in render_suited(
            Suited(RANKER, False, {one: True}), TITLES, "lab")


def test_figures_that_mean_little_are_grey(tmp_path: Path) -> None:
    paths = tuple(write_pictures(tmp_path, 2))
    clip = Features(RANKER, "a", 32, 10.0, np.zeros((0, 0)), np.zeros((0, 0)))
    shares = np.full((2, 2), 0.5, np.float32)
    found = Classification(("cat", "dog"), 10.0, shares, shares)
    outcome = Classified(clip, ("a", "b"), paths, found, misfits=(False, True))
    assert render_many(outcome).count("lab-bars grey") == 1
    assert "lab-bars grey" not in render_many(Classified(clip, ("a", "b"), paths, found))
    single = Classification(("cat", "dog"), 10.0, shares[:1], shares[:1])
    assert "lab-bars grey" in render_one(Classified(clip, ("a",), paths[:1], single,
                                                    misfits=(True,)))
    matrix = Matrix(clip, ("x",), ("a", "b"), paths, shares[:1], shares[:1], shares[:1],
                    misfits=(False, True))
    assert render_matrix(matrix).count('class="grey"') == 3  # in each of its three views


def test_a_backend_looks_in_turn(tmp_path: Path) -> None:
    backend = lab_backend()
    try:
        images = [load_image(path.read_bytes()) for path in write_pictures(tmp_path, 2)]
        assert backend.unlike_the_world(images).tolist() == [False, False]
    finally:
        backend.close()


@pytest.mark.weights("familiarity", "efficientnet-lite0")
def test_the_shipped_one_tells_photographs_from_own_pictures() -> None:
    catalogue = Catalogue.load()
    model = load_model(catalogue, catalogue.get("embedded/familiarity"))
    assert isinstance(model, Familiarity)

    def read(paths: Sequence[Path]) -> list[np.ndarray]:
        return [load_image(path.read_bytes()) for path in paths]

    own = [*sorted((REPOSITORY / "assets" / "samples").glob("*.png")),
           *sorted((REPOSITORY / "assets" / "lab").glob("*.png"))]
    assert not unlike_the_world(read(own), model).any()
    photographs = [PHOTOGRAPHS / name for name in ("cheetah1.jpg", "lion.jpg", "tower.jpg")]
    assert unlike_the_world(read(photographs), model).all()
