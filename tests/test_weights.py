"""Damaged, foreign and missing model files: one sentence each, and no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from easel.cli.start import run_weights
from easel.cli.weights import app
from pipelines.core.errors import OutOfMemory, WeightsError
from pipelines.models import clip, vqgan
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.stats import measured_bytes
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import LOADERS
from pipelines.models.checkpoints.loading import (
    CatalogueLoader,
    Verifier,
    file_sha256,
    load_model,
    pinned,
)
from pipelines.models.checkpoints.pins import Pins
from pipelines.models.checkpoints.tensor_files import memory_bytes, read_checkpoint
from tests.weight_folders import CLIP_CONFIG, VQGAN_CONFIG, catalogue
from training.export import export

__all__ = ["catalogue"]


def refusal(catalogue: Catalogue, name: str = "vqgan") -> str:
    """The sentence with which a model is refused."""
    with pytest.raises(WeightsError) as caught:
        load_model(catalogue, catalogue.get(f"embedded/{name}"))
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("name", ["vqgan", "dalle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(catalogue: Catalogue, name: str, dtype: torch.dtype) -> None:
    model = load_model(catalogue, catalogue.get(f"embedded/{name}"), "cpu", dtype)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert not any(p.requires_grad for p in model.parameters())


def test_loaded_weights_compute_what_they_did(catalogue: Catalogue) -> None:
    model = vqgan.build(VQGAN_CONFIG)
    export(model, "vqgan", "vqgan", VQGAN_CONFIG, "A test.", catalogue.weights_dir)
    loaded = load_model(catalogue, catalogue.get("embedded/vqgan"))
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float()), key


def test_gradients_flow_through_to_the_input(catalogue: Catalogue) -> None:
    cache = ModelCache(CatalogueLoader(catalogue))
    with torch.inference_mode(), cache.lease("embedded/vqgan") as model:  # a careless caller
        pass
    latents = torch.randn(1, 8, 4, 4, requires_grad=True)
    model.decode(latents).sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


def test_clip_keeps_the_buffers_that_no_file_holds(
        catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.checkpoints.vocabulary.load_vocabulary", lambda: None)
    model = load_model(catalogue, catalogue.get("embedded/clip"))
    assert isinstance(model, clip.ClipModel)
    assert model.image_size == 32
    mask = model.module.attn_mask
    assert isinstance(mask, torch.Tensor)
    expected = clip.build(CLIP_CONFIG).attn_mask
    assert isinstance(expected, torch.Tensor)
    assert torch.equal(mask, expected)
    features = model.encode_image(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 16)
    assert torch.isfinite(features).all()


def test_loading_leaves_the_global_generator_alone(
        catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.checkpoints.vocabulary.load_vocabulary", lambda: None)
    before = torch.random.get_rng_state()
    for model in catalogue:
        load_model(catalogue, model)
    assert torch.equal(before, torch.random.get_rng_state())


def test_size_is_known_before_the_load(catalogue: Catalogue) -> None:
    path = catalogue.folder(catalogue.get("embedded/vqgan")) / "model.safetensors"
    model = load_model(catalogue, catalogue.get("embedded/vqgan"))
    assert memory_bytes(path, torch.float32) == measured_bytes(model)
    assert memory_bytes(path.with_name("nothing"), torch.float32) == 0
    cache = ModelCache(CatalogueLoader(catalogue))
    message = cache.loading_message("embedded/vqgan")
    assert message is not None
    assert message.startswith("Loading the test model, ")


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def damage_header_length(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, ("__import__('pathlib').Path(__import__('os').environ['MARK']).touch()",)


@pytest.mark.parametrize("damage", [
    damage_truncate, damage_header_length, damage_empty,
    lambda path: path.write_bytes(b"<html>404</html>"),
])
def test_unpinned_damage_is_still_seen(catalogue: Catalogue,
                                       damage: Callable[[Path], object]) -> None:
    damage(catalogue.weights_dir / "vqgan" / "model.safetensors")
    assert "embedded/vqgan is cut short or is not a safetensors file" in refusal(catalogue)


def test_a_pickle_runs_nothing(catalogue: Catalogue, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    (catalogue.weights_dir / "vqgan" / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "not a safetensors file" in refusal(catalogue)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb()))  # the bomb works, so the assertion above says something
    assert mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_one_flipped_byte_of_a_pinned_file(catalogue: Catalogue, name: str) -> None:
    catalogue = pinned(catalogue)
    load_model(catalogue, catalogue.get("embedded/vqgan"))
    damage_flip(catalogue.weights_dir / "vqgan" / name)
    assert f"{name} of the model embedded/vqgan is damaged or was exchanged" in refusal(catalogue)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file(catalogue: Catalogue, name: str) -> None:
    (catalogue.weights_dir / "vqgan" / name).unlink()
    assert refusal(catalogue) == f"The file {name} of the model embedded/vqgan is not there."


def test_weights_of_another_model(catalogue: Catalogue) -> None:
    folder = catalogue.weights_dir
    (folder / "vqgan" / "model.safetensors").write_bytes(
        (folder / "dalle" / "model.safetensors").read_bytes())
    sentence = refusal(catalogue)
    assert "do not fit its configuration" in sentence
    assert "missing (first" in sentence
    assert "unknown (first" in sentence


def test_weights_of_another_shape(catalogue: Catalogue) -> None:
    path = catalogue.weights_dir / "vqgan" / "config.json"
    raw = json.loads(path.read_text())
    raw["config"]["n_embed"] = 17
    path.write_text(json.dumps(raw))
    assert "1 of another shape (first quantize" in refusal(catalogue)


@pytest.mark.parametrize(("text", "words"), [
    ("{", "not a model configuration"), ("[]", "not a model configuration"),
    ('{"architecture": "vqgan"}', "not a model configuration"),
    ('{"architecture": "os.system", "config": {}}', "no architecture called 'os.system'"),
    ('{"architecture": "vqgan", "config": {"unheard_of": 1}}', "does not fit the architecture"),
])
def test_a_wrong_configuration(catalogue: Catalogue, text: str, words: str) -> None:
    (catalogue.weights_dir / "vqgan" / "config.json").write_text(text)
    assert words in refusal(catalogue)


@pytest.mark.parametrize("model_id", [
    "../secret", "embedded/../../secret", "/etc/passwd", "embedded//vqgan", "", "a\0b",
    "embedded/.hidden", "embedded\\vqgan", "embedded/vqgan\n"])
def test_traversal_in_a_model_id(catalogue: Catalogue, model_id: str) -> None:
    with pytest.raises(WeightsError):
        catalogue.get(model_id)
    with pytest.raises(WeightsError), ModelCache(CatalogueLoader(catalogue)).lease(model_id):
        pass


def test_pin_writes_what_verify_checks(catalogue: Catalogue, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.checkpoints.vocabulary.load_vocabulary", lambda: None)
    path = tmp_path / "catalogue.toml"
    path.write_text("# A comment.\n")
    catalogue.save(path)
    (tmp_path / "weights").symlink_to(tmp_path, target_is_directory=True)
    run = ["--catalogue", str(path)]
    app(["pin", *run], standalone_mode=False)
    assert path.read_text().startswith("# A comment.\n\n[[models]]\n")
    again = Catalogue.load(path)
    assert [e.model_dump(exclude={"files"}) for e in again] == [
        e.model_dump(exclude={"files"}) for e in catalogue]
    assert all(file.sha256 and file.size_bytes for e in again for file in e.files)
    app(["list", *run], standalone_mode=False)
    assert capsys.readouterr().out.count("B, pinned") == 3
    damage_flip(tmp_path / "dalle" / "model.safetensors")
    assert run_weights(["verify", *run]) == 1
    written = capsys.readouterr()
    assert "embedded/vqgan: good" in written.out
    assert "embedded/dalle is damaged" in written.err


def test_verify_goes_on_after_any_fault(catalogue: Catalogue, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.checkpoints.vocabulary.load_vocabulary", lambda: None)
    path = tmp_path / "catalogue.toml"
    path.write_text("")
    first, *others = catalogue
    # A loader that fails as none should: by an exception of no sentence, and of several lines.
    monkeypatch.setitem(LOADERS, "broken", ("tests.test_weights", "broken_loader"))
    Catalogue((first.model_copy(update={"loader": "broken"}), *others), tmp_path).save(path)
    (tmp_path / "weights").symlink_to(tmp_path, target_is_directory=True)
    assert run_weights(["verify", "--catalogue", str(path)]) == 1
    written = capsys.readouterr()
    assert written.err.splitlines() == [
        f"The model {first.id} could not be loaded: no such kernel for this device."]
    assert written.out.splitlines() == [f"{entry.id}: good" for entry in others]
    assert run_weights(["verify", "--json", "--catalogue", str(path)]) == 1
    assert json.loads(capsys.readouterr().out).keys() == {entry.id for entry in catalogue}


def broken_loader(folder: Path, entry: CatalogueEntry) -> torch.nn.Module:
    raise NotImplementedError("no such kernel\nfor this device.")


def test_fingerprint_is_that_of_the_loaded_file(catalogue: Catalogue) -> None:
    loader = CatalogueLoader(catalogue)
    cache = ModelCache(loader)
    assert cache.fingerprints(["embedded/vqgan"]) == {"embedded/vqgan": None}
    with cache.lease("embedded/vqgan"):
        pass
    expected = pinned(catalogue).get("embedded/vqgan").file("model.safetensors").sha256
    assert cache.fingerprints(["embedded/vqgan"]) == {"embedded/vqgan": expected}


@pytest.mark.weights
def test_the_shipped_weights_are_pinned_and_load() -> None:
    catalogue = Catalogue.load()
    for model in (m for m in catalogue if m.repository is None):
        assert all(file.sha256 for file in model.files), f"{model.id} is not pinned"
        load_model(catalogue, model)


def test_a_pytorch_file_that_runs_code_is_refused(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    torch.save({"state_dict": Bomb()}, tmp_path / "model.bin")
    (tmp_path / "old.bin").write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))
    for name in ("model.bin", "old.bin"):
        with pytest.raises(WeightsError, match="reading it could run code") as caught:
            read_checkpoint(tmp_path / name, "me/mine")
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    torch.save({"state_dict": {"a": torch.ones(3)}}, tmp_path / "good.bin")
    assert torch.equal(read_checkpoint(tmp_path / "good.bin", "m")["state_dict"]["a"],
                       torch.ones(3))
    whole = (tmp_path / "good.bin").read_bytes()
    for data in (whole[:-100], b"", b"<html>", b"PK\x03\x04"):
        (tmp_path / "bad.bin").write_bytes(data)
        with pytest.raises(WeightsError, match=r"^The bad.bin of the model m is "):
            read_checkpoint(tmp_path / "bad.bin", "m")
    with pytest.raises(WeightsError, match="is not there"):
        read_checkpoint(tmp_path / "absent.bin", "m")


def test_a_model_larger_than_the_budget_is_a_sentence(catalogue: Catalogue) -> None:
    small = memory_bytes(catalogue.weights_dir / "dalle" / "model.safetensors", torch.float32)
    large = memory_bytes(catalogue.weights_dir / "vqgan" / "model.safetensors", torch.float32)
    assert small < large
    cache = ModelCache(CatalogueLoader(catalogue), budget_bytes=large - 1)
    with pytest.raises(OutOfMemory, match=r"needs .* MB, and the budget of"), \
            cache.lease("embedded/vqgan"):
        pass
    with cache.lease("embedded/dalle"):
        assert cache.stats().used_bytes <= large - 1


def test_an_unknown_loader_is_a_sentence(catalogue: Catalogue) -> None:
    strange = catalogue.get("embedded/vqgan").model_copy(update={"loader": "os"})
    with pytest.raises(WeightsError, match="no loader called 'os'"):
        load_model(catalogue, strange)


def test_a_file_is_hashed_again_only_where_it_changed(catalogue: Catalogue,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    monkeypatch.setattr("pipelines.models.checkpoints.loading.file_sha256",
                        lambda path: hashed.append(path.name) or file_sha256(path))
    catalogue = pinned(catalogue)
    hashed.clear()
    verifier = Verifier()
    for _ in range(2):
        load_model(catalogue, catalogue.get("embedded/vqgan"), verifier=verifier)
    assert sorted(hashed) == ["config.json", "model.safetensors"]
    damage_flip(catalogue.weights_dir / "vqgan" / "model.safetensors")
    with pytest.raises(WeightsError, match="exchanged"):
        load_model(catalogue, catalogue.get("embedded/vqgan"), verifier=verifier)


def test_a_broken_file_of_pins_is_said(tmp_path: Path) -> None:
    (tmp_path / "pins.json").write_text("{")
    with pytest.raises(WeightsError, match=r"^The file of pins pins.json cannot be read"):
        Pins(tmp_path / "pins.json").get("a/b")
