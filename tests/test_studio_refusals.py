"""What VQGAN+CLIP cannot draw: one sentence by the page, the API and the command line, and nothing
lost: no model stays held, and the next run draws as if nothing had been."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from easel.cli.main import main
from easel.serving.backend import LocalBackend
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.published_parts import PartsLoader
from tests.served import App
from tests.test_browser import CHROMIUM, browser
from tests.test_history_browser import visit
from tests.test_vqgan_checkpoints import random_taming

__all__ = ["browser", "visit"]

FEW = {"iterations": 2, "precision": "float32"}
GUIDES = {"second_guide": "embedded/clip-second", "third_guide": "embedded/clip-third"}
# Prompt, options, and what is said of them.
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "another network": ("a cat", {"vqgan": "test/other"},
                        "The files of the model test/other hold another network than its title "
                        "says: it has 64 codes, not 128."),
    "half the precision": ("a cat", {"vqgan": "test/half"},
                           "The file pytorch_model.bin of the model test/half is damaged or was "
                           "exchanged: its SHA-256 is not the one in the catalogue."),
    "caret": ("a cat ^ ", {}, "A part of the story"),
    "strip": ("a cat", {"aspect": "1:100"}, "one side may be up to 4 times the other"),
    "three guides": ("a cat", GUIDES, "that no running job or pin holds."),
}
SEED = 3


def entry(folder: Path, name: str, **facts: Any) -> CatalogueEntry:
    """A VQGAN as taming publishes it, with what is stated of it."""
    return CatalogueEntry.model_validate({
        "id": f"test/{name}", "title": name, "family": "vqgan", "loader": "taming-vqgan",
        "licence": "MIT", "source": "made by a test", "path": folder,
        "files": [{"name": "pytorch_model.bin", **facts.pop("file", {})}], **facts})


def write_taming(folder: Path, dtype: torch.dtype) -> bytes:
    """A small VQGAN's file in a number format; returns what it holds."""
    folder.mkdir(exist_ok=True)
    model: Any = random_taming("f16")
    torch.save({name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in model.state_dict().items()}, folder / "pytorch_model.bin")
    return (folder / "pytorch_model.bin").read_bytes()


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> PartsLoader:
    folder = tmp_path_factory.mktemp("public")
    write_taming(folder / "other", torch.float32)
    whole = write_taming(folder / "half", torch.float32)
    write_taming(folder / "half", torch.float16)
    stated = {"size_bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    return PartsLoader(Catalogue((entry(folder / "other", "other", network={"codes": 128}),
                                  entry(folder / "half", "half", file=stated)), folder))


@pytest.fixture(scope="module")
def budget_bytes(loader: PartsLoader) -> int:
    """Room for a run with two guides, whoever else is idle, and not for one with three."""
    cache = ModelCache(loader, "cpu")
    backend = LocalBackend(made(), cache)
    list(backend.stream(backend.registry.check({
        "pipeline": "vqgan_clip", "prompt": "a cat", "num_images": 1, "options": FEW | GUIDES})))
    sizes = {m.model_id: m.size_bytes for m in cache.stats().models}
    backend.close()
    cache.close()
    return sum(sizes.values()) - sizes[GUIDES["third_guide"]]


def made() -> Registry:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    return registry


@pytest.fixture(scope="module")
def app(loader: PartsLoader, budget_bytes: int) -> Iterator[App]:
    served = App([VQGANCLIPPipeline()], ModelCache(loader, "cpu", budget_bytes=budget_bytes,
                                                   room_timeout_s=0.0))
    yield served
    served.close()


def drawn(client: Client, prompt: str = "a cat", **options: Any) -> bytes:
    files, _ = client.predict(prompt, ["vqgan_clip"], 1, SEED, {"vqgan_clip": FEW | options},
                              api_name="/generate")
    return Image.open(files[0]).tobytes()


@pytest.fixture(scope="module")
def before(app: App) -> bytes:
    """A picture that was drawn before anything was refused."""
    return drawn(app.client())


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_program_is_told_in_a_sentence(app: App, before: bytes, case: str) -> None:
    prompt, options, says = REFUSED[case]
    client = app.client()
    with pytest.raises(AppError) as caught:
        drawn(client, prompt, **options)
    said = str(caught.value)
    assert says in said
    assert said.endswith(".")
    assert "\n" not in said
    app.wait_until_idle()
    assert drawn(client) == before


@pytest.mark.parametrize("case", list(REFUSED))
def test_the_command_line_says_the_same(loader: PartsLoader, budget_bytes: int, case: str,
                                        tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                        ) -> None:
    prompt, options, says = REFUSED[case]
    cache = ModelCache(loader, "cpu", budget_bytes=budget_bytes, room_timeout_s=0.0)
    chosen = [part for name, value in (FEW | options).items()
              for part in ("--option", f"{name}={value}")]
    code = main(["generate", prompt, "--pipeline", "vqgan_clip", "--num-images", "1", "--out",
                 str(tmp_path / "out"), *chosen], LocalBackend(made(), cache))
    written = capsys.readouterr()
    assert code in (1, 2)
    assert written.out == ""
    last = [line for line in written.err.splitlines() if line.strip()][-1].split("\r")[-1]
    assert says in last
    assert "Traceback" not in written.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not any(model.leases for model in cache.stats().models)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_says_it_in_a_sentence(visit: Callable[..., Page], app: App) -> None:
    page = visit()
    page.locator("#settings .label-wrap").first.click()
    page.locator("#count-vqgan_clip input").fill("1")

    def press(prompt: str, options: dict[str, Any]) -> None:
        page.locator("#prompt textarea").fill(prompt)
        # What page.js writes there of the form, whose choices do not have a test's models.
        page.locator("#option-values textarea, #option-values input").evaluate(
            """(box, text) => { box.value = text;
               box.dispatchEvent(new Event("input", { bubbles: true })); }""",
            json.dumps({"vqgan_clip": FEW | options}))
        page.locator("#generate").click()

    press("a cat", {})
    expect(page.locator("#stage .tile.done")).to_have_count(1)
    # What is refused before it begins leaves the picture where it is; what fails later takes its
    # place on the stage.
    for case in sorted(REFUSED, key=lambda case: case not in ("caret", "strip")):
        prompt, options, says = REFUSED[case]
        expect(page.locator("#generate")).to_be_enabled()
        press(prompt, options)
        expect(page.get_by_role("alert")).to_contain_text(says)
        expect(page.locator("#stage .tile.done")).to_have_count(
            1 if case in ("caret", "strip") else 0)
        app.wait_until_idle()
