"""Public checkpoints in the pipelines: they are chosen by an option, and run like embedded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import pipelines.models.precision
from pipelines.core.errors import InvalidRequest, WeightsError
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.options import option_fields
from pipelines.dalle import DallePipeline
from pipelines.min_dalle import DETOKENIZER, TRANSFORMER, MinDallePipeline
from pipelines.model_options import with_choices
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.models.fast_linear import has_int8, in_int8
from pipelines.models.min_dalle import NUM_CODES, Detokenizer, MinDalle, MinDalleConfig
from pipelines.models.min_dalle_tokenizer import MinDalleTokenizer
from pipelines.models.precision import cpu_has_tiles, dtype_for
from pipelines.pipeline import Pipeline, RunContext
from pipelines.registry import Registry, build_registry
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import SmallLoader
from tests.test_open_clip_checkpoints import SMALL, random_open_clip
from tests.test_vqgan_checkpoints import random_taming


def small_catalogue(folder: Path) -> Catalogue:
    """The shipped catalogue and two models of a user, with random weights on disk."""
    save_file(random_taming("f16").state_dict(), folder / "vqgan.safetensors")
    random_open_clip(folder, SMALL)
    catalogue = Catalogue.load(models_dir=folder / "models")
    text = "".join(
        f'[[models]]\nid = "mine/{name}"\ntitle = "my {name}"\nfamily = "{name}"\n'
        f'loader = "{loader}"\nlicence = "MIT"\nsource = "a test"\npath = "."\n'
        + "".join(f'[[models.files]]\nname = "{file}"\n' for file in files)
        for name, loader, files in (
            ("vqgan", "taming-vqgan", ["vqgan.safetensors"]),
            ("clip", "open_clip", ["open_clip_model.safetensors", "open_clip_config.json"])))
    (folder / "mine.toml").write_text(text)
    catalogue.add_user_entries(folder / "mine.toml")
    assert catalogue.faults == ()
    return catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return small_catalogue(tmp_path_factory.mktemp("mine"))


def tiny_min_dalle() -> MinDalle:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = MinDalleTokenizer({p: i for i, p in enumerate(pieces)}, [("Ġ", "a")])
    model = MinDalle(MinDalleConfig(len(pieces), 2**14 + 1, 64, 64, 1), tokenizer)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


class TinyDetokenizer(Detokenizer):
    """Grey values instead of a decoder of 47 million weights."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(2.0**-14))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        grey = (codes[:, None].float() * self.scale.float()).expand(-1, 3, -1, -1)
        return grey.repeat_interleave(16, 2).repeat_interleave(16, 3)


class PublicLoader(SmallLoader):
    """Small embedded models, a tiny DALL·E mini, and whatever the catalogue has on disk."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.files = CatalogueLoader(catalogue)

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        if model_id.startswith("embedded/"):
            return super().load(model_id, device, dtype)
        made = {TRANSFORMER: tiny_min_dalle, DETOKENIZER: TinyDetokenizer}.get(model_id)
        if made is None:
            return self.files.load(model_id, device, dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model: nn.Module = made()
            if dtype == torch.int8:
                model, dtype = in_int8(model), torch.float32
            return model.to(device, dtype).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def cache(catalogue: Catalogue) -> ModelCache:
    return ModelCache(PublicLoader(catalogue))


def run(pipeline: Pipeline, cache: ModelCache, stop_after: int | None = None,
        **fields: Any) -> list[Event]:
    registry = Registry()
    registry.register(pipeline)
    request = registry.check({"pipeline": pipeline.name, "prompt": "a red apple", "seed": 5,
                        "num_images": 1, **fields})
    done: list[int] = []
    context = RunContext(cache, torch.device("cpu"),
                         cancelled=lambda: stop_after is not None and len(done) >= stop_after)
    events = []
    for event in pipeline.run(request, context):
        if isinstance(event, Progress) and event.total and not event.message:
            done.append(event.step)
        events.append(event)
    assert context.used_models == set(pipeline.models_of(request))
    return events


def test_a_users_vqgan_and_guide_draw(catalogue: Catalogue, cache: ModelCache) -> None:
    pipeline = VQGANCLIPPipeline(catalogue)
    options = {"vqgan": "mine/vqgan", "guide": "mine/clip", "ranker": "mine/clip",
               "iterations": 3, "num_cutouts": 2, "init": "plain", "size_px": 128}
    events = run(pipeline, cache, options=options)
    result = events[-1]
    assert isinstance(result, Result)
    assert result.candidates[0].image.shape == (128, 128, 3), "not drawn larger"
    losses = [e.losses["loss"] for e in events if isinstance(e, Progress) and e.losses]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    again = run(pipeline, cache, options=options)[-1]
    assert isinstance(again, Result)
    assert (again.candidates[0].image == result.candidates[0].image).all()


@pytest.mark.parametrize(("guides", "ranker"), [
    ({}, "embedded/clip-ranker"), ({"guide": "embedded/clip-ranker"}, "embedded/clip-guide"),
    ({"guide": "embedded/clip-photos", "second_guide": "embedded/clip-ranker"},
     "embedded/clip-guide"),
    ({"second_guide": "embedded/clip-ranker"}, "embedded/clip-ranker")])
def test_an_embedded_guide_is_no_judge_either_but_where_both_guided(
        catalogue: Catalogue, guides: dict[str, str], ranker: str) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline(catalogue))
    checked = registry.check({"pipeline": "vqgan_clip", "prompt": "a", "options": guides})
    assert checked.options.ranker == ranker


def test_several_guides_have_to_agree(catalogue: Catalogue, cache: ModelCache) -> None:
    """The step is along the mean of what each guide asks for alone."""
    pipeline = VQGANCLIPPipeline(catalogue)

    def loss(*guides: str) -> float:
        names = ("guide", "second_guide", "third_guide")
        events = run(pipeline, cache, options={
            **dict(zip(names, guides, strict=False)), "iterations": 1, "num_cutouts": 1,
            "init": "plain", "precision": "float32"})
        return next(e.losses["loss"] for e in events if isinstance(e, Progress) and e.losses)

    own, mine, ranker = "embedded/clip-guide", "mine/clip", "embedded/clip-ranker"
    alone = [loss(guide) for guide in (own, mine, ranker)]
    assert len({round(each, 6) for each in alone}) == 3
    assert loss(own, mine) == pytest.approx(sum(alone[:2]) / 2, rel=1e-4)
    assert loss(own, mine, ranker) == pytest.approx(sum(alone) / 3, rel=1e-4)


@pytest.mark.parametrize(("options", "says"), [
    ({"second_guide": "embedded/clip-guide"}, "The same CLIP guides twice"),
    ({"second_guide": "mine/clip", "third_guide": "mine/clip"}, "The same CLIP guides twice"),
    ({"vqgan": "compvis/vqgan-f16-1024", "guide": "mine/clip",
      "third_guide": "embedded/clip-guide"}, "knows only emoji-like pictures"),
    ({"third_guide": "mine/vqgan"}, "Third guide must be")])
def test_guides_that_make_no_sense_are_refused(catalogue: Catalogue, options: dict[str, str],
                                               says: str) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline(catalogue))
    with pytest.raises(InvalidRequest, match=says):
        registry.check({"pipeline": "vqgan_clip", "prompt": "a", "options": options})


def test_a_guide_is_no_judge_of_what_it_guided(catalogue: Catalogue, tmp_path: Path) -> None:
    first, second = "laion/clip-vit-b-32", "openai/clip-vit-b-32"
    own = Catalogue.load(models_dir=tmp_path)
    for model_id in (first, second):
        entry = own.get(model_id)
        for file in entry.files:
            path = own.folder(entry) / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    registry = Registry()
    registry.register(VQGANCLIPPipeline(own))

    def ranker(**options: str) -> str:
        request = {"pipeline": "vqgan_clip", "prompt": "a",
                   "options": {"vqgan": "compvis/vqgan-f16-1024", **options}}
        return registry.check(request).options.ranker

    assert ranker(guide=first) == second
    assert ranker(guide=first, second_guide=second) == "embedded/clip-ranker"


def test_a_model_that_is_not_here_says_how_to_get_it(catalogue: Catalogue, cache: ModelCache,
                                                     ) -> None:
    with pytest.raises(WeightsError, match="compvis/vqgan-f16-1024 is not on this machine: "
                                           "download it"):
        run(VQGANCLIPPipeline(catalogue), cache, options={"vqgan": "compvis/vqgan-f16-1024",
                                                          "guide": "laion/clip-vit-b-32"})


def test_only_models_of_the_right_family_can_be_chosen(catalogue: Catalogue) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline(catalogue))
    for wrong in ("embedded/clip-guide", "nobody/knows", "../up"):
        with pytest.raises(InvalidRequest, match="VQGAN must be"):
            registry.check({"pipeline": "vqgan_clip", "prompt": "a", "options": {"vqgan": wrong}})


def test_choices_say_size_and_licence(catalogue: Catalogue) -> None:
    fields = {f.name: f for f in option_fields(with_choices(VQGANCLIPOptions, catalogue))}
    labels = {value: label for label, value in fields["vqgan"].labelled()}
    assert fields["vqgan"].kind == "choice"
    assert fields["vqgan"].default == "embedded/vqgan"
    assert labels["embedded/vqgan"] == "VQGAN (embedded)"
    assert labels["compvis/vqgan-f16-1024"].endswith("(359 MB, licence not stated)")
    assert labels["mine/vqgan"] == "my vqgan (MIT)"
    assert "kuprel/dalle-detoker" not in labels, "it cannot read pictures"
    guides = {value: label for label, value in fields["guide"].labelled()}
    assert guides["laion/clip-vit-b-32"] == "CLIP ViT-B/32 (LAION-2B) (605 MB, MIT)"


def test_public_pipelines_come_with_their_weights(catalogue: Catalogue) -> None:
    assert not {"min_dalle", "janus"} & set(build_registry(catalogue).names())
    for entry in (catalogue.get(TRANSFORMER), catalogue.get(DETOKENIZER)):
        assert not ready(catalogue)
        touch_files(catalogue, entry)
    assert ready(catalogue)
    names = build_registry(catalogue).names()
    assert names[:2] == ("dalle", "vqgan_clip")
    assert "min_dalle" in names
    assert "janus" not in names


def ready(catalogue: Catalogue) -> bool:
    return MinDallePipeline(catalogue).ready(catalogue)


def touch_files(catalogue: Catalogue, entry: CatalogueEntry) -> None:
    for file in entry.files:
        path = catalogue.folder(entry) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_dalle_mini_streams_and_ends_ranked(cache: ModelCache) -> None:
    options = {"preview_every": 100, "precision": "float32"}
    events = run(MinDallePipeline(), cache, num_images=2, options=options)
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == list(range(1, NUM_CODES + 1))
    assert [e.step for e in events if isinstance(e, Preview)] == [100, 200]
    result = events[-1]
    assert isinstance(result, Result)
    assert result.metadata == {"computed_in": "float32"}
    images = {c.seed: c.image for c in result.candidates}
    assert not (images[5] == images[6]).all()
    alone = run(MinDallePipeline(), cache, seed=6, options=options)[-1]
    assert isinstance(alone, Result)
    assert (alone.candidates[0].image == images[6]).all()


def test_dalle_mini_stops_and_keeps(cache: ModelCache) -> None:
    result = run(MinDallePipeline(), cache, stop_after=16)[-1]
    assert isinstance(result, Result)
    assert result.metadata["stopped"] is True
    assert (result.candidates[0].image[32:] == 128).all()


@pytest.mark.skipif(not has_int8(), reason="needs a CPU with the integer product")
def test_dalle_mini_in_8_bits_draws_each_picture_as_alone(catalogue: Catalogue) -> None:
    cache = ModelCache(PublicLoader(catalogue))
    together = run(MinDallePipeline(), cache, num_images=3)[-1]
    alone = run(MinDallePipeline(), cache, seed=7, options={"precision": "int8"})[-1]
    assert isinstance(together, Result)
    assert isinstance(alone, Result)
    images = {c.seed: c.image for c in together.candidates}
    assert (alone.candidates[0].image == images[7]).all()
    dtypes = {m.model_id: m.dtype for m in cache.stats().models}
    assert dtypes[TRANSFORMER] == "int8", "auto"
    assert "int8" not in (dtypes[DETOKENIZER], dtypes["embedded/clip-ranker"])


def test_dalle_mini_writes_fewer_at_once_where_the_device_is_full(
        catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ModelCache(PublicLoader(catalogue))
    options = {"precision": "float32", "preview_every": 100}
    whole = run(MinDallePipeline(), cache, num_images=3, options=options)[-1]
    with cache.lease(TRANSFORMER) as model:
        own = model.decoder.forward

        def small_device(codes: torch.Tensor, *others: Any) -> torch.Tensor:
            if len(codes) > 4:  # with guidance, two rows a picture
                raise torch.OutOfMemoryError("full")
            return own(codes, *others)

        monkeypatch.setattr(model.decoder, "forward", small_device)
    found = run(MinDallePipeline(), cache, num_images=3, options=options)[-1]
    assert isinstance(whole, Result)
    assert isinstance(found, Result)
    images = {c.seed: c.image.astype(int) for c in whole.candidates}
    assert {c.seed for c in found.candidates} == images.keys() == {5, 6, 7}
    for candidate in found.candidates:
        # Greys of codes: hardly any code is another one for the last bits of a score.
        assert (candidate.image == images[candidate.seed]).mean() > 0.99


def test_dalle_can_be_ranked_by_another_clip(catalogue: Catalogue, cache: ModelCache) -> None:
    plain = run(DallePipeline(catalogue), cache)[-1]
    other = run(DallePipeline(catalogue), cache, options={"ranker": "mine/clip"})[-1]
    assert isinstance(plain, Result)
    assert isinstance(other, Result)
    assert (plain.candidates[0].image == other.candidates[0].image).all()
    assert plain.candidates[0].scores["clip"] != other.candidates[0].scores["clip"]


@pytest.mark.parametrize(("model_id", "run_dtype", "precision", "expected"), [
    ("embedded/vqgan", torch.float32, "auto", torch.float32),
    ("embedded/vqgan", torch.float32, "bfloat16", torch.float32),  # by autocast, as before
    ("embedded/vqgan", torch.float16, "auto", torch.float16),
    ("mine/vqgan", torch.float16, "bfloat16", torch.float16),
    ("mine/vqgan", torch.float32, "float32", torch.float32),
    ("mine/vqgan", torch.float32, "bfloat16", torch.bfloat16),
])
def test_the_dtype_of_a_lease(model_id: str, run_dtype: torch.dtype, precision: Any,
                              expected: torch.dtype) -> None:
    assert dtype_for(model_id, torch.device("cpu"), run_dtype, precision) == expected


@pytest.mark.parametrize(("device", "run_dtype", "precision", "expected"), [
    ("cpu", torch.float32, "auto", torch.int8),
    ("cpu", torch.float32, "int8", torch.int8),
    ("cpu", torch.float32, "float32", torch.float32),
    ("cpu", torch.float32, "bfloat16", torch.bfloat16),
    ("cpu", torch.bfloat16, "int8", torch.bfloat16),
    ("mps", torch.float32, "int8", torch.float32),
])
def test_8_bits_are_for_models_that_can_and_for_cpus(
        device: str, run_dtype: torch.dtype, precision: Any, expected: torch.dtype,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.models.precision, "has_int8", lambda: True)
    asked = TRANSFORMER, torch.device(device), run_dtype, precision
    assert dtype_for(*asked, int8=True) == expected
    assert dtype_for(*asked) != torch.int8
    monkeypatch.setattr(pipelines.models.precision, "has_int8", lambda: False)
    assert dtype_for(*asked, int8=True) == dtype_for(*asked)


def test_auto_asks_the_machine() -> None:
    found = dtype_for("mine/vqgan", torch.device("cpu"), torch.float32)
    assert found == (torch.bfloat16 if cpu_has_tiles() else torch.float32)
