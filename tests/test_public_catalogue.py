"""What the catalogue says of public checkpoints: their network, licence, size, and shared files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from easel.cli.start import run_weights
from easel.ui.models.render import render_models
from easel.words.language import say, speaking
from pipelines.core.errors import InvalidRequest, WeightsError
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import ModelInventory
from pipelines.models.checkpoints.catalogue import CATALOGUE_PATH, Catalogue
from pipelines.models.checkpoints.downloads import Downloads
from pipelines.models.checkpoints.entries import CatalogueEntry, licence_words
from pipelines.models.checkpoints.loading import (
    CatalogueLoader,
    is_complete,
    load_model,
    weight_files,
)
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from tests.hub_server import Hub, Repository, serve_hub
from tests.min_dalle_folder import converted_vqgan, flax_vqgan
from tests.test_vqgan_checkpoints import random_taming

COMMIT = "a" * 40
SHIPPED = [entry for entry in Catalogue.load() if entry.repository is not None]


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.id)
def test_every_public_checkpoint_states_its_network(entry: CatalogueEntry) -> None:
    assert entry.network is not None
    assert entry.download_bytes
    if entry.network.parameters and entry.files_of is None:
        # As large as so many parameters in 2 or 4 bytes each, with a trainer's extras at most.
        each = entry.download_bytes / entry.network.parameters
        assert 1.95 < each < 2.1 or 3.95 < each < 5.1
    if entry.restrictions:
        assert entry.restrictions.endswith(".")
        with speaking("pt"):
            assert say(entry.restrictions) != entry.restrictions


def test_licences_are_the_weights_own() -> None:
    licences = {entry.id: entry.licence for entry in SHIPPED}
    assert licences["deepseek/janus-pro-1b"] == "LicenseRef-DeepSeek"
    assert licences["kuprel/dalle-mega"] == "Apache-2.0"
    assert licences["kuprel/dalle-detoker"] == "NOASSERTION"
    assert licence_words(licences["deepseek/janus-pro-1b"]) == "DeepSeek"


TAMING = {"id": "test/vqgan", "title": "VQGAN, 128 codes", "family": "vqgan",
          "loader": "taming-vqgan", "licence": "MIT", "source": "made by a test", "path": ".",
          "files": [{"name": "pytorch_model.bin"}]}


@pytest.mark.parametrize(("network", "words"), [
    ({"codes": 128}, "it has 64 codes, not 128."), ({"width": 256}, "its width is 24, not 256."),
    ({"codes": 64, "parameters": 76_073_859}, "parameters, not 76,073,859.")])
def test_another_network_under_a_known_name_is_refused(tmp_path: Path, network: dict[str, int],
                                                       words: str) -> None:
    taming: Any = random_taming("f16")
    torch.save(taming.state_dict(), tmp_path / "pytorch_model.bin")
    entry = CatalogueEntry.model_validate({**TAMING, "path": tmp_path, "network": network})
    catalogue = Catalogue((entry,), tmp_path)
    with pytest.raises(WeightsError, match=r"^The files of the model test/vqgan hold another "
                                           r"network than its title says: ") as caught:
        load_model(catalogue, entry)
    assert words in str(caught.value)
    with speaking("pt"):
        assert say(str(caught.value)).startswith("Os arquivos do modelo test/vqgan contêm")
    loss = sum(p.numel() for p in taming.loss.parameters())
    right = {"codes": 64, "width": 24,
             "parameters": sum(p.numel() for p in taming.parameters()) - loss}
    assert isinstance(load_model(catalogue, entry.model_copy(
        update={"network": CatalogueEntry.model_validate(
            {**TAMING, "network": right}).network})), VQGAN)


def test_a_catalogue_survives_being_saved(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_bytes(CATALOGUE_PATH.read_bytes())
    Catalogue.load(path).save(path)
    assert tomllib.loads(path.read_text()) == tomllib.loads(CATALOGUE_PATH.read_text())


def hub_entries() -> tuple[CatalogueEntry, ...]:
    """The shipped entries of a detokenizer and of the VQGAN that it is, sizes left open."""
    catalogue = Catalogue.load()
    return tuple(catalogue.get(name).model_copy(update={"network": None})
                 for name in ("kuprel/dalle-detoker", "kuprel/vqgan-f16-16384"))


def detokenizer_file(folder: Path) -> tuple[bytes, Any]:
    """A small detokenizer as published, and taming's own modules with the same numbers."""
    taming: Any = random_taming("f16")
    state = {name: tensor for name, tensor in taming.state_dict().items()
             if name.startswith(("decoder.", "post_quant_conv."))}
    state["embedding.weight"] = taming.quantize.embedding.weight
    torch.save(converted_vqgan(flax_vqgan(state)), folder / "detoker.pt")
    return (folder / "detoker.pt").read_bytes(), taming


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Downloads]]:
    """Downloads of entries from a hub that has files of theirs."""
    made = []
    with serve_hub(Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)

        def downloads(entries: tuple[CatalogueEntry, ...], files: dict[str, bytes]) -> Downloads:
            hub.repositories[str(entries[0].repository)] = Repository(COMMIT, files)
            catalogue = Catalogue(entries, tmp_path / "w", tmp_path / "models")
            made.append(Downloads(catalogue, timeout_s=20.0))
            return made[-1]

        yield downloads
        for each in made:
            each.close()


def done(downloads: Downloads, model_id: str) -> None:
    download = downloads.start(model_id)
    assert download.wait(60)
    assert download.phase == "done", download.error


def test_a_file_of_two_models_is_downloaded_once(served: Callable[..., Downloads],
                                                 tmp_path: Path) -> None:
    data, taming = detokenizer_file(tmp_path)
    downloads = served(hub_entries(), {"detoker.pt": data})
    catalogue = downloads.catalogue
    inventory = ModelInventory(ModelCache(CatalogueLoader(catalogue)), catalogue, downloads)
    assert [row.state for row in inventory.rows()] == ["not downloaded", "not downloaded"]
    done(downloads, "kuprel/vqgan-f16-16384")
    assert [row.state for row in inventory.rows()] == ["on disk", "on disk"]
    assert catalogue.get("kuprel/vqgan-f16-16384").files[0].sha256
    assert [path.name for path in tmp_path.glob("models/**/*.pt")] == ["detoker.pt"]
    vqgan = load_model(catalogue, catalogue.get("kuprel/vqgan-f16-16384"))
    assert isinstance(vqgan, VQGAN)
    codes = torch.randint(64, (1, 4, 4), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = vqgan.decode_indices(codes)
        latents = taming.quantize.embedding(codes).permute(0, 3, 1, 2)
        expected = taming.decoder(taming.post_quant_conv(latents))
    assert torch.allclose((found + 1) / 2, expected, atol=1e-4), "its range is [0, 1]"
    assert (vqgan.codes, vqgan.width) == (64, 24)
    inventory.cache.close()


def test_a_vqgan_without_an_encoder_starts_from_noise(tmp_path: Path) -> None:
    config = VQGANConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(),
                         z_channels=32, embed_dim=4, n_embed=16, encoder=False)
    vqgan, generators = VQGAN(config).requires_grad_(False), [torch.Generator().manual_seed(3)]
    assert not any(name.startswith(("encoder", "quant_conv")) for name in vqgan.state_dict())
    drawer = VQGANDrawer(vqgan)
    assert start_parameters(drawer, "noise", None, (32, 32), generators).shape == (1, 4, 16, 16)
    with pytest.raises(InvalidRequest, match="can draw and not read pictures: start from noise"):
        start_parameters(drawer, "plain", None, (32, 32), generators)


@pytest.mark.parametrize("change", [{"files_of": "nobody/knows"}, {"repository": "a/other"}])
def test_files_of_another_repository_are_no_ones(change: dict[str, str]) -> None:
    first, second = hub_entries()
    with pytest.raises(WeightsError, match=r"has a wrong entry: kuprel/vqgan-f16-16384 names"):
        Catalogue((first, second.model_copy(update=change)))


def sharded(tensors: dict[str, torch.Tensor], whole: str) -> dict[str, bytes]:
    """Files as transformers shards them."""
    stem, names = whole.removesuffix(".safetensors"), sorted(tensors)
    table = {name: f"{stem}-{1 + i % 3:05}-of-00003.safetensors" for i, name in enumerate(names)}
    files = {shard: save({n: tensors[n].contiguous() for n in names if table[n] == shard})
             for shard in set(table.values())}
    index: dict[str, Any] = {"metadata": {}, "weight_map": table}
    return {**files, f"{whole}.index.json": json.dumps(index).encode(), "README.md": b"none"}


def test_shards_are_downloaded_pinned_checked_and_loaded(served: Callable[..., Downloads],
                                                         tmp_path: Path) -> None:
    taming: Any = random_taming("f16")
    entry = CatalogueEntry.model_validate({
        **TAMING, "path": None, "repository": "some/shards", "network": {"codes": 64},
        "files": [{"name": "model.safetensors"}]})
    files = sharded(dict(taming.state_dict()), "model.safetensors")
    downloads = served((entry,), files)
    catalogue = downloads.catalogue
    assert not is_complete(catalogue, catalogue.get(entry.id))
    done(downloads, entry.id)
    found = catalogue.get(entry.id)
    assert {file.name for file in found.files} == files.keys() - {"README.md"}
    assert all(file.sha256 for file in found.files)
    assert len(list(weight_files(found))) == 3
    cache = ModelCache(CatalogueLoader(catalogue))
    with cache.lease(entry.id) as model:
        assert torch.equal(model.quantizer.embedding.weight, taming.quantize.embedding.weight)
    cache.close()
    shard = catalogue.folder(found) / "model-00002-of-00003.safetensors"
    data = shard.read_bytes()
    shard.unlink()
    assert not is_complete(catalogue, catalogue.get(entry.id))
    done(downloads, entry.id)
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"model-00002-of-00003.safetensors .* exchanged"):
        load_model(catalogue, catalogue.get(entry.id))
    for path in catalogue.folder(found).iterdir():
        path.unlink()
    files["model-00001-of-00003.safetensors"] += b"x"
    download = downloads.start(entry.id)
    assert download.wait(60)
    assert "not the one that is pinned" in download.error


def test_estimates_know_half_precision_and_what_is_packed(tmp_path: Path) -> None:
    matrix = torch.zeros(256, 128).half()
    torch.save({"layers.0.fc.weight": matrix, "embed_tokens.weight": matrix},
               tmp_path / "encoder.pt")
    entry = CatalogueEntry.model_validate({
        **TAMING, "path": tmp_path, "loader": "min-dalle", "files": [{"name": "encoder.pt"}]})
    loader = CatalogueLoader(Catalogue((entry,), tmp_path))
    sizes = [loader.size_bytes(entry.id, dtype)
             for dtype in (torch.float32, torch.bfloat16, torch.int8)]
    count = matrix.numel()
    assert sizes == [8 * count, 4 * count, 5 * count + 12 * 256]


def test_restrictions_are_shown_before_a_download(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        ) -> None:
    catalogue = Catalogue.load(models_dir=tmp_path / "models")
    inventory = ModelInventory(ModelCache(CatalogueLoader(catalogue)), catalogue,
                               Downloads(catalogue))
    restrictions = catalogue.get("deepseek/janus-pro-1b").restrictions.replace("'", "&#x27;")
    html = render_models(inventory)
    row = html[html.index('data-row="deepseek/janus-pro-1b"'):].partition("</tr>")[0]
    assert restrictions in row
    assert "DeepSeek ·" in row
    assert 'data-act="download"' in row
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EASEL_OFFLINE", "1")
    assert run_weights(["download", "deepseek/janus-pro-1b"]) != 0
    said = capsys.readouterr().err
    assert said.startswith("deepseek/janus-pro-1b: licence DeepSeek. The weights' licence forbids")
