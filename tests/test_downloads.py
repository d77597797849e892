"""The real hub client against a local server: whole, interrupted, hanging, wrong and refused."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from easel.cli.start import run_weights
from pipelines.core.errors import WeightsError
from pipelines.models import vqgan
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue, open_catalogue
from pipelines.models.checkpoints.downloads import INCOMING, Download, Downloads
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.loading import CatalogueLoader, file_sha256, is_complete
from pipelines.models.checkpoints.pins import FOLDER
from tests.hub_server import Hub, Repository, serve_hub
from tests.weight_folders import VQGAN_CONFIG
from training.export import export

COMMIT, LATER = "a" * 40, "b" * 40
NAME, MODEL = "someone/pictures", "someone/vqgan"
BIG = random.Random(0).randbytes(3 * 2**20)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The two files of a small model."""
    folder = tmp_path_factory.mktemp("weights")
    export(vqgan.build(VQGAN_CONFIG), "m", "vqgan", VQGAN_CONFIG, "A test.", folder)
    return {name: (folder / "m" / name).read_bytes()
            for name in ("config.json", "model.safetensors")}


@pytest.fixture
def hub(weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, which the client is told of as people would."""
    repository = Repository(COMMIT, {**weights, "big.bin": BIG, "README.md": b"A test.\n"})
    with serve_hub(Hub({NAME: repository})) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as the page's own process has it
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


def entry_of(*names: str, **fields: object) -> CatalogueEntry:
    """An entry with these files of the repository."""
    return CatalogueEntry.model_validate({
        "id": MODEL, "title": "test VQGAN", "family": "vqgan", "licence": "MIT",
        "source": "made by a test", "repository": NAME, "revision": "main",
        "files": [{"name": name} for name in names], **fields})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Downloads]]:
    """Makes a ``Downloads`` of one entry, with its files and other fields."""
    made = []

    def downloads(*names: str, timeout_s: float = 20.0, **fields: object) -> Downloads:
        names = names or ("config.json", "model.safetensors")
        catalogue = Catalogue((entry_of(*names, **fields),), tmp_path / "w", tmp_path / "models")
        made.append(Downloads(catalogue, timeout_s=timeout_s))
        return made[-1]

    yield downloads
    for each in made:
        each.close()


def finished(downloads: Downloads) -> Download:
    """Download the model to the end."""
    download = downloads.start(MODEL)
    assert download.wait(60)
    return download


def refusal(downloads: Downloads) -> str:
    """The sentence with which a download ends; no half file is left where models lie."""
    download = finished(downloads)
    assert download.phase == "failed"
    assert download.error.endswith(".")
    assert "\n" not in download.error
    entry = downloads.catalogue.get(MODEL)
    assert not is_complete(downloads.catalogue, entry)
    return download.error


def placed(downloads: Downloads) -> list[str]:
    """Names of the files in the model's own folder."""
    folder = downloads.catalogue.models_dir / MODEL
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_whole_pinned_and_loadable(hub: Hub, make: Callable[..., Downloads]) -> None:
    downloads = make()
    cache = ModelCache(CatalogueLoader(downloads.catalogue))
    with pytest.raises(WeightsError, match="is not on this machine: download it"), \
            cache.lease(MODEL):
        pass
    download = finished(downloads)
    assert (download.phase, download.error) == ("done", "")
    assert download.done_bytes == download.total_bytes > 0
    entry = downloads.catalogue.get(MODEL)
    assert entry.revision == COMMIT, "the branch became a commit"
    folder = downloads.catalogue.folder(entry)
    for file in entry.files:
        assert file.sha256 == file_sha256(folder / file.name)
        assert file.size_bytes == (folder / file.name).stat().st_size
    assert not (downloads.catalogue.models_dir / INCOMING / MODEL).exists()
    with cache.lease(MODEL) as model:
        assert torch.isfinite(model.decode(torch.zeros(1, 8, 4, 4))).all()
    asked = len(hub.log)
    assert finished(downloads).phase == "done"
    assert len(hub.log) == asked, "what is here is not asked for again"


def test_pinned_ever_after(hub: Hub, make: Callable[..., Downloads]) -> None:
    downloads = make()
    finished(downloads)
    folder = downloads.catalogue.models_dir / MODEL
    hub.repositories[NAME].commit = LATER  # the branch moves on, with other weights
    hub.repositories[NAME].files["model.safetensors"] += b"more"
    (folder / "model.safetensors").unlink()
    assert "no such revision" in refusal(downloads)
    hub.repositories[NAME].commit = COMMIT  # a mirror that lies about the commit
    assert "not the one that is pinned" in refusal(downloads)
    assert placed(downloads) == ["config.json"]


def test_a_flipped_byte_is_put_in_quarantine_and_fetched_again(
        hub: Hub, make: Callable[..., Downloads]) -> None:
    downloads = make()
    finished(downloads)
    path = downloads.catalogue.models_dir / MODEL / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    cache = ModelCache(CatalogueLoader(downloads.catalogue))
    with pytest.raises(WeightsError, match="moved to quarantine: download it again"), \
            cache.lease(MODEL):
        pass
    assert placed(downloads) == ["config.json"]
    (kept,) = (downloads.catalogue.models_dir / FOLDER / MODEL).iterdir()
    assert kept.read_bytes() == data
    assert finished(downloads).phase == "done"
    with cache.lease(MODEL):
        pass


def test_a_cut_connection_is_resumed_where_it_ended(hub: Hub,
                                                    make: Callable[..., Downloads]) -> None:
    hub.drop_after = 2**20
    downloads = make("big.bin")
    assert finished(downloads).phase == "done"
    assert (downloads.catalogue.models_dir / MODEL / "big.bin").read_bytes() == BIG
    (_, first), (_, second) = hub.bodies_asked()
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 2**20


def test_a_cancelled_download_goes_on_another_day(hub: Hub,
                                                  make: Callable[..., Downloads]) -> None:
    hub.hang_after = 2**21
    downloads = make("big.bin")
    download = downloads.start(MODEL)
    assert hub.hanging.wait(20)
    while download.done_bytes < 2**20:
        assert not download.wait(0.02)
    assert downloads.start(MODEL) is download, "a second press joins the first"
    assert downloads.cancel(MODEL)
    assert download.wait(10)
    assert download.phase == "cancelled"
    assert placed(downloads) == []
    assert not downloads.cancel(MODEL)
    hub.hang_after = None
    assert finished(make("big.bin")).phase == "done"
    assert (downloads.catalogue.models_dir / MODEL / "big.bin").read_bytes() == BIG
    start = hub.bodies_asked()[-1][1]
    assert start is not None
    assert int(start.removeprefix("bytes=").removesuffix("-")) >= 2**20


def test_a_part_of_another_version_is_not_gone_on_with(hub: Hub,
                                                       make: Callable[..., Downloads]) -> None:
    hub.hang_after = 2**21
    downloads = make("big.bin")
    downloads.start(MODEL)
    assert hub.hanging.wait(20)
    assert downloads.cancel(MODEL)
    hub.hang_after = None
    other = BIG[::-1]
    hub.repositories[NAME].files["big.bin"] = other
    assert finished(make("big.bin")).phase == "done"
    assert (downloads.catalogue.models_dir / MODEL / "big.bin").read_bytes() == other


def test_a_hub_that_hangs_is_given_up(hub: Hub, make: Callable[..., Downloads]) -> None:
    hub.hang_after = 2**20
    assert "sent nothing for 1 s" in refusal(make("big.bin", timeout_s=1.0))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_wrong_bytes_are_put_in_quarantine(hub: Hub, make: Callable[..., Downloads],
                                           weights: dict[str, bytes], name: str) -> None:
    right = make()
    finished(right)
    (right.catalogue.models_dir / MODEL / name).unlink()
    wrong = bytes(reversed(weights[name]))
    hub.swapped[name] = wrong
    downloads = make()
    assert "moved to quarantine and is not used" in refusal(downloads)
    assert name not in placed(downloads)
    (kept,) = (downloads.catalogue.models_dir / FOLDER / MODEL).iterdir()
    assert kept.read_bytes() == wrong
    hub.swapped.clear()
    assert finished(downloads).phase == "done"


def test_a_file_cut_short_by_the_hub(hub: Hub, make: Callable[..., Downloads]) -> None:
    hub.swapped["big.bin"] = BIG[:1000]
    assert "cut short or too long" in refusal(make("big.bin"))


def test_404(hub: Hub, make: Callable[..., Downloads]) -> None:
    assert "no file absent.bin" in refusal(make("absent.bin"))
    assert "no repository called nobody/nothing" in refusal(make(repository="nobody/nothing"))
    assert "no such revision of someone/pictures" in refusal(make(revision="v9"))


def test_an_optional_file_may_be_absent(hub: Hub, make: Callable[..., Downloads]) -> None:
    downloads = make(files=[{"name": "README.md"}, {"name": "absent.bin", "optional": True}])
    assert finished(downloads).phase == "done"
    assert placed(downloads) == ["README.md"]


def test_401_and_a_token(hub: Hub, make: Callable[..., Downloads],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[NAME].token = "hf_secret"
    assert "needs a token in HF_TOKEN" in refusal(make())
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert finished(make()).phase == "done"
    assert not hub.leaked, "the token is for the hub alone"


def test_no_server(hub: Hub, make: Callable[..., Downloads],
                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9 cannot be reached" in refusal(make())


def test_a_hub_that_answers_html(hub: Hub, make: Callable[..., Downloads]) -> None:
    hub.html = True
    assert "not a model's data, a web page perhaps" in refusal(make())


def test_a_disk_too_small_is_said_before_the_download(hub: Hub,
                                                      make: Callable[..., Downloads]) -> None:
    hub.sizes["big.bin"] = 10**18
    assert "needs 1000000000.00 GB, and the disk has" in refusal(make("big.bin"))
    assert hub.bodies_asked() == []


def test_a_disk_that_fills_up(hub: Hub, make: Callable[..., Downloads]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, hard))  # the process that writes inherits it
    try:
        assert "The disk is full" in refusal(make("big.bin"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_offline_refuses(hub: Hub, make: Callable[..., Downloads]) -> None:
    downloads = make()
    downloads.offline = True
    with pytest.raises(WeightsError, match="EASEL_OFFLINE forbids"):
        downloads.start(MODEL)
    assert hub.log == []


def test_what_is_on_this_machine_is_not_downloaded(tmp_path: Path) -> None:
    downloads = Downloads(open_catalogue(tmp_path))
    with pytest.raises(WeightsError, match="not one to download"):
        downloads.start("embedded/vqgan")


@pytest.mark.parametrize("facts", [{"size_bytes": 12}, {"sha256": "0" * 64}])
def test_a_wrong_file_at_its_place_is_not_called_downloaded(
        hub: Hub, make: Callable[..., Downloads], facts: dict[str, object]) -> None:
    downloads = make(files=[{"name": "big.bin", **facts}])
    path = downloads.catalogue.models_dir / MODEL / "big.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wrong")
    said = refusal(downloads)
    assert "big.bin of the model someone/vqgan is damaged or was exchanged" in said
    assert "moved to quarantine" in said
    assert (hub.log, placed(downloads)) == ([], [])


def test_files_of_no_hash_that_somebody_put_there_are_loaded_once(
        weights: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    (tmp_path / "catalogue.toml").write_text(f"""
[[models]]
id = "{MODEL}"
title = "test VQGAN"
family = "vqgan"
licence = "MIT"
source = "made by a test"
repository = "{NAME}"
files = [{{name = "config.json"}}, {{name = "model.safetensors"}}]
network = {{codes = {VQGAN_CONFIG["n_embed"]}}}
""")
    folder = tmp_path / "models" / MODEL
    folder.mkdir(parents=True)
    for name, data in weights.items():
        (folder / name).write_bytes(data)
    assert run_weights(["download", MODEL]) == 0
    assert f"{MODEL}: was here already" in capsys.readouterr().out
    text = (tmp_path / "catalogue.toml").read_text()
    (tmp_path / "catalogue.toml").write_text(text.replace("codes = ", "codes = 9"))
    assert run_weights(["download", MODEL]) == 1
    assert "hold another network than its title says" in capsys.readouterr().err
    (folder / "model.safetensors").write_bytes(b"wrong")
    assert run_weights(["download", MODEL]) == 1
    written = capsys.readouterr()
    assert (written.out, "is cut short or is not a safetensors file" in written.err) == ("", True)


def test_two_at_once_do_not_mix(hub: Hub, make: Callable[..., Downloads]) -> None:
    hub.hang_after = 2**20
    downloads, other = make("big.bin"), make("big.bin")
    downloads.start(MODEL)
    assert hub.hanging.wait(20)
    assert "Another Easel downloads someone/pictures already" in refusal(other)
    downloads.cancel(MODEL)


def test_the_command_line(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                          monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalogue.toml").write_text(f"""
[[models]]
id = "{MODEL}"
title = "test VQGAN"
family = "vqgan"
licence = "MIT"
source = "made by a test"
repository = "{NAME}"
files = [{{name = "config.json"}}, {{name = "model.safetensors"}}]
""")
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_weights(list(arguments))
        written = capsys.readouterr()
        return code, written.out, written.err

    code, out, _ = run("list")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith(MODEL)]
    assert "MIT" in line
    assert "not downloaded" in line
    code, out, err = run("download", MODEL)
    assert code == 0, err
    assert f"{MODEL}: downloaded" in out
    assert "100%" in err
    assert "MB, pinned" in run("list")[1].split(MODEL)[1].splitlines()[0]
    code, out, _ = run("verify", MODEL)
    assert (code, out) == (0, f"{MODEL}: good\n")
    path = tmp_path / "models" / MODEL / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = run("verify", MODEL)
    assert code == 1
    assert "quarantine" in err
    code, out, err = run("download", MODEL)
    assert (code, f"{MODEL}: downloaded" in out) == (0, True), err
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = run("download", MODEL)  # a wrong file is not one that was downloaded
    assert (code, out) == (1, "")
    assert "model.safetensors of the model someone/vqgan is damaged or was exchanged" in err
    code, out, err = run("download", MODEL)
    assert (code, f"{MODEL}: downloaded" in out) == (0, True), err
    code, out, err = run("download", MODEL)
    assert (code, f"{MODEL}: was here already" in out) == (0, True), err
    code, _, err = run("download", "nobody/nothing")
    assert code == 1
    assert err == "The catalogue has no model called nobody/nothing.\n"
    monkeypatch.setenv("EASEL_OFFLINE", "1")
    assert "EASEL_OFFLINE forbids" in run("download", MODEL)[2]
