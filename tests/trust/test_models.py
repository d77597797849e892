"""Cases 16 to 21 and 32: bad models, and hubs that are down, hang or lose their worker.

One sentence each, no code runs, no half file lies where models do, and the embedded ones go on.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client
from safetensors.torch import save_file

from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import ModelInventory
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import INCOMING, Downloads
from pipelines.models.checkpoints.pins import FOLDER
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.hub_server import Hub, Repository, serve_hub
from tests.served import App
from tests.test_app import generate, refusal
from tests.test_models_tab import row_of, until
from tests.test_open_clip_checkpoints import SMALL, random_open_clip
from tests.test_public_models import PublicLoader
from tests.test_vqgan_checkpoints import random_taming
from tests.test_weights import Bomb

QUICK = {"iterations": 1}
BUDGET = 40_000_000
PICTURES, WHOLE = "someone/pictures", "someone/whole"
FETCHED = "mine/fetched"


def write_files(folder: Path) -> None:
    """What each of the bad entries names."""
    weights = random_taming("f16").state_dict()
    save_file(weights, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:-1000])
    (folder / "page.safetensors").write_bytes(b"<html>404</html>")
    random_open_clip(folder, SMALL)
    (folder / "open_clip_model.safetensors").rename(folder / "other.safetensors")
    torch.save({"state_dict": Bomb()}, folder / "bomb.ckpt")
    (folder / "old-bomb.ckpt").write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))
    huge = torch.zeros(BUDGET // 2, dtype=torch.float16)
    save_file({**weights, "decoder.huge": huge}, folder / "large.safetensors")


def user_file(folder: Path) -> Path:
    """A user's catalogue: a good model, models whose files are bad, and wrong entries."""
    def entry(model_id: str, file: str, **changes: Any) -> str:
        fields = {"id": model_id, "title": model_id, "family": "vqgan", "loader": "taming-vqgan",
                  "licence": "MIT", "source": "a test", "path": ".", **changes}
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()
                 if value is not None]
        return "\n".join(["[[models]]", *lines, f'[[models.files]]\nname = "{file}"'])

    names = ("whole", "truncated", "page", "other", "large")
    parts = [entry(f"mine/{name}", f"{name}.safetensors") for name in names]
    parts += [entry(f"mine/{name}", f"{name}.ckpt") for name in ("bomb", "old-bomb")]
    parts += [entry("mine/hub", "big.bin", path=None, repository=PICTURES),
              entry(FETCHED, "whole.safetensors", path=None, repository=WHOLE),
              entry("../../etc/passwd", "whole.safetensors"),
              entry("mine/strange", "whole.safetensors", licence="do what you like"),
              entry("mine/upwards", "../../secret.safetensors")]
    path = folder / "catalogue.toml"
    path.write_text("\n".join(parts))
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, Catalogue, Path]]:
    """The page with small embedded models and that catalogue, and where its bombs leave a mark."""
    folder = tmp_path_factory.mktemp("bad")
    write_files(folder)
    catalogue = Catalogue.load(models_dir=folder / "models")
    catalogue.add_user_entries(user_file(folder))

    class Loader(PublicLoader):
        def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
            return self.files.size_bytes(model_id, dtype) if model_id.startswith("mine/") else 0

    cache = ModelCache(Loader(catalogue), budget_bytes=BUDGET, room_timeout_s=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARK", str(folder / "mark"))
        app = App([VQGANCLIPPipeline(catalogue)], cache)
        yield app, catalogue, folder / "mark"
        app.close()


@pytest.fixture(scope="module")
def client(served: tuple[App, Catalogue, Path]) -> Client:
    """One for all, patient with a busy machine."""
    return Client(served[0].url, verbose=False, analytics_enabled=False,
                  httpx_kwargs={"timeout": 60})


@pytest.mark.parametrize(("name", "says"), [
    ("truncated", "mine/truncated is cut short or is not a safetensors file"),
    ("page", "mine/page is cut short or is not a safetensors file"),
    ("other", "mine/other"),
    ("bomb", "reading it could run code"),
    ("old-bomb", "reading it could run code"),
    ("large", "The model mine/large needs"),
    ("../../etc/passwd", "VQGAN must be"),
    ("mine/strange", "VQGAN must be"),
])
def test_case_16_18_and_19_a_bad_model_is_a_sentence_and_the_embedded_go_on(
        served: tuple[App, Catalogue, Path], client: Client, name: str, says: str) -> None:
    app, _, mark = served
    model_id = name if "/" in name else f"mine/{name}"
    said = refusal(client, pipelines=["vqgan_clip"], num_images=1,
                   options={"vqgan_clip": {**QUICK, "vqgan": model_id}})
    assert says in said
    assert not mark.exists(), "code ran"
    app.wait_until_idle()
    files, _ = generate(client, pipelines=["vqgan_clip"], num_images=1,
                        options={"vqgan_clip": QUICK})
    assert len(files) == 1


def test_a_good_model_beside_them_draws(client: Client) -> None:
    files, _ = generate(client, pipelines=["vqgan_clip"], num_images=1,
                        options={"vqgan_clip": {**QUICK, "vqgan": "mine/whole"}})
    assert len(files) == 1


def test_case_19_wrong_entries_are_told_and_left_out(served: tuple[App, Catalogue, Path]) -> None:
    catalogue = served[1]
    assert [fault.count("\n") for fault in catalogue.faults] == [0, 0, 0]
    for fault, words in zip(catalogue.faults, (
            "'../../etc/passwd' is not of the form", "not a licence that Easel knows",
            "'../../secret.safetensors' is not of the form"), strict=True):
        assert words in fault
    assert "mine/strange" not in {entry.id for entry in catalogue}


@pytest.mark.parametrize("fault", ["html", "full"])
def test_a_download_that_fails_leaves_no_half_file(
        served: tuple[App, Catalogue, Path], client: Client, monkeypatch: pytest.MonkeyPatch,
        fault: str) -> None:
    app, catalogue, _ = served
    hub = Hub({PICTURES: Repository("a" * 40, {"big.bin": bytes(2**16)})})
    hub.html = fault == "html"
    if fault == "full":
        hub.sizes["big.bin"] = 10**18
    inventory = ModelInventory(app.cache, catalogue, Downloads(catalogue, timeout_s=20.0))
    with serve_hub(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        inventory.download("mine/hub")
        until(lambda: bool(row_of(inventory, "mine/hub").error))
    inventory.close()
    row = row_of(inventory, "mine/hub")
    assert ("a web page perhaps" if fault == "html" else "and the disk has") in row.error
    assert row.state == "not downloaded"
    folder = catalogue.models_dir
    assert not [path for path in folder.rglob("*.bin*") if INCOMING not in path.parts]
    assert "mine/hub is not on this machine" in refusal(
        client, pipelines=["vqgan_clip"], num_images=1,
        options={"vqgan_clip": {**QUICK, "vqgan": "mine/hub"}})
    assert len(generate(client, pipelines=["vqgan_clip"], num_images=1,
                        options={"vqgan_clip": QUICK})[0]) == 1


# Downloads of "mine/fetched", a good model -----------------------------------------------------


@pytest.fixture
def hub(served: tuple[App, Catalogue, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the good model, which is not on this machine."""
    app, catalogue, _ = served
    app.wait_until_idle()
    app.cache.evict_idle()
    forget(catalogue)
    weights = (catalogue.models_dir.parent / "whole.safetensors").read_bytes()
    hub = Hub({WHOLE: Repository("b" * 40, {"whole.safetensors": weights})})
    with serve_hub(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def forget(catalogue: Catalogue) -> None:
    """Remove the good model and what is left of its downloads."""
    for folder in (catalogue.models_dir, catalogue.models_dir / INCOMING,
                   catalogue.models_dir / FOLDER):
        shutil.rmtree(folder / FETCHED, ignore_errors=True)


def fetched_file(catalogue: Catalogue) -> Path:
    return catalogue.models_dir / FETCHED / "whole.safetensors"


def draw_fetched(client: Client) -> list[str]:
    return generate(client, pipelines=["vqgan_clip"], num_images=1,
                    options={"vqgan_clip": {**QUICK, "vqgan": FETCHED}})[0]


def fetch(served: tuple[App, Catalogue, Path], timeout_s: float = 60.0) -> str:
    """Press Download and wait for the end; its error, empty for none."""
    app, catalogue, _ = served
    shelf = ModelInventory(app.cache, catalogue, Downloads(catalogue, timeout_s=timeout_s))
    try:
        shelf.download(FETCHED)
        download = shelf.downloads.get(FETCHED)
        assert download is not None
        assert download.wait(300)
        return str(download.error)
    finally:
        shelf.close()


def test_case_17_a_flipped_byte_is_put_in_quarantine_and_fetched_again(
        served: tuple[App, Catalogue, Path], client: Client, hub: Hub) -> None:
    app, catalogue, _ = served
    assert fetch(served) == ""
    assert len(draw_fetched(client)) == 1
    app.wait_until_idle()
    app.cache.evict_idle()
    path = fetched_file(catalogue)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.unlink()
    path.write_bytes(data)
    said = refusal(client, pipelines=["vqgan_clip"], num_images=1,
                   options={"vqgan_clip": {**QUICK, "vqgan": FETCHED}})
    assert "moved to quarantine: download it again" in said
    assert not path.exists()
    app.wait_until_idle()
    assert fetch(served) == ""
    assert len(draw_fetched(client)) == 1


def test_case_17_the_old_error_goes_with_a_good_download(
        served: tuple[App, Catalogue, Path], hub: Hub) -> None:
    app, catalogue, _ = served
    assert fetch(served) == ""
    app.wait_until_idle()
    app.cache.evict_idle()
    data = bytearray(fetched_file(catalogue).read_bytes())
    data[-5] ^= 1
    fetched_file(catalogue).unlink()
    fetched_file(catalogue).write_bytes(data)
    shelf = ModelInventory(app.cache, catalogue, Downloads(catalogue, timeout_s=60.0))
    try:
        shelf.load(FETCHED)
        until(lambda: "moved to quarantine" in row_of(shelf, FETCHED).error)
        shelf.download(FETCHED)
        download = shelf.downloads.get(FETCHED)
        assert download is not None
        assert download.wait(300)
        row = row_of(shelf, FETCHED)
        assert (row.state, row.error) == ("on disk", "")
    finally:
        shelf.close()


@pytest.mark.weights("vqgan", "clip-guide", "clip-ranker")
def test_case_20_without_a_hub_the_app_starts_with_the_embedded_models(
        served: tuple[App, Catalogue, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold start where nothing answers, of a page of its own with the models that ship."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    cold = App([VQGANCLIPPipeline()])
    try:
        client = cold.client()
        assert "embedded/vqgan" in str(client.predict(api_name="/models"))
        assert len(generate(client, pipelines=["vqgan_clip"], num_images=1,
                            options={"vqgan_clip": {**QUICK, "num_cutouts": 4}})[0]) == 1
    finally:
        cold.close()
    forget(served[1])
    said = fetch(served)
    assert said.endswith(".")
    assert "\n" not in said


def test_case_21_a_hub_that_hangs_is_given_up_and_gone_on_with(
        served: tuple[App, Catalogue, Path], client: Client, hub: Hub) -> None:
    catalogue, whole = served[1], hub.repositories[WHOLE].files["whole.safetensors"]
    hub.hang_after = len(whole) // 2
    assert "sent nothing for 2 s" in fetch(served, timeout_s=2.0)
    assert not fetched_file(catalogue).exists(), "half a file"
    hub.hang_after = None
    assert fetch(served) == ""
    assert fetched_file(catalogue).read_bytes() == whole
    assert len(draw_fetched(client)) == 1


def download_workers() -> list[int]:
    """The processes of this one that download."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            mine = f"PPid:\t{os.getpid()}\n" in status.read_text()
            if mine and b"download_worker" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:  # ended meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_case_32_a_worker_that_is_killed_is_reported_and_replaced(
        served: tuple[App, Catalogue, Path], hub: Hub) -> None:
    """The worker of a download; where there is a cluster, its own tests kill others."""
    app, catalogue, _ = served
    whole = hub.repositories[WHOLE].files["whole.safetensors"]
    hub.hang_after = len(whole) // 2
    shelf = ModelInventory(app.cache, catalogue, Downloads(catalogue, timeout_s=60.0))
    try:
        shelf.download(FETCHED)
        assert hub.hanging.wait(60)
        [worker] = download_workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: bool(row_of(shelf, FETCHED).error))
        said = row_of(shelf, FETCHED).error
    finally:
        shelf.close()
    assert said.endswith(".")
    assert "\n" not in said
    assert not fetched_file(catalogue).exists()
    hub.hang_after = None
    assert fetch(served) == ""
    assert fetched_file(catalogue).read_bytes() == whole
