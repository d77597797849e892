"""The Models tab: every model with its figures, and buttons that download, load, unload and pin."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Browser, Page, expect

from easel.ui.models.admins import ModelAdmins
from easel.ui.models.advice import REACHED, Machine, advised, machine_of
from easel.ui.models.render import render_models, render_wishes
from easel.ui.models.tab import build_models, perform
from easel.ui.models.wishes import WISHES, states
from easel.ui.parts.names import with_names
from easel.words import strings
from pipelines.core.errors import Busy, EaselError, InvalidRequest, WeightsError
from pipelines.models import vqgan
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import ModelInventory, ModelRow, inventory_of
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import Download, Downloads
from pipelines.models.checkpoints.loading import CatalogueLoader, pinned
from pipelines.models.machine_rates import Rates
from pipelines.registry import GENERATORS
from tests.hub_server import Hub, Repository, serve_hub
from tests.noise import linear_cache
from tests.served import App
from tests.test_browser import CHROMIUM, DESKTOP, PATIENCE_MS, PHONE, browser
from tests.weight_folders import VQGAN_CONFIG, entry
from training.export import export

__all__ = ["browser"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SCRIPT = "<img src=x onerror=alert(1)>"
PUBLIC = "someone/vqgan"
WISH = WISHES[0]


def inventory_in(folder: Path) -> ModelInventory:
    """Two models on disk, room for both on the device, one to download, and the parts of a wish."""
    for name in ("one", "two"):
        export(vqgan.build(VQGAN_CONFIG), name, "vqgan", VQGAN_CONFIG, "A test.", folder)
    own = pinned(Catalogue((entry("embedded/one", "vqgan"), entry("embedded/two", "vqgan")),
                           folder))
    public = entry(PUBLIC, "vqgan").model_copy(update={
        "repository": "someone/pictures", "title": SCRIPT, "licence": "NOASSERTION",
        "download_bytes": 12_000_000})
    parts = [entry(part, "vqgan").model_copy(update={
        "repository": "someone/pictures", "download_bytes": 500_000_000}) for part in WISH.parts]
    catalogue = Catalogue((*own, public, *parts), folder, folder / "models")
    cache = ModelCache(CatalogueLoader(catalogue), budget_bytes=6_000_000)
    return ModelInventory(cache, catalogue, Downloads(catalogue))


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[ModelInventory]:
    made = inventory_in(tmp_path)
    yield made
    made.close()
    made.cache.close()


def row_of(inventory: ModelInventory, model_id: str) -> ModelRow:
    return next(row for row in inventory.rows() if row.id == model_id)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_states_follow_what_is_pressed(inventory: ModelInventory) -> None:
    assert [row.state for row in inventory.rows()][:3] == ["on disk", "on disk", "not downloaded"]
    assert [row.kind for row in inventory.rows()][:3] == ["embedded", "embedded", "own"]
    perform(inventory, "load embedded/one 123")
    until(lambda: row_of(inventory, "embedded/one").state == "on the device")
    row = row_of(inventory, "embedded/one")
    assert (row.hits, row.misses, row.evictions, row.error) == (0, 1, 0, "")
    assert row.last_load_s is not None
    assert row.memory_bytes == inventory.memory().used_bytes > 0
    with inventory.cache.lease("embedded/one"):
        assert row_of(inventory, "embedded/one").state == "in use"
        with pytest.raises(Busy, match="in use: wait for the job"):
            perform(inventory, "unload embedded/one 124")
    perform(inventory, "pin embedded/two 125")
    until(lambda: row_of(inventory, "embedded/two").state == "on the device")
    assert row_of(inventory, "embedded/two").pinned
    inventory.cache.evict_idle()
    assert [row.state for row in inventory.rows()][:2] == ["on disk", "on the device"]
    perform(inventory, "unpin embedded/two 126")
    perform(inventory, "unload embedded/two 127")
    assert [row.state for row in inventory.rows()][:2] == ["on disk", "on disk"]


@pytest.mark.parametrize(("words", "error"), [
    ("load ../../etc/passwd 1", WeightsError), ("load nobody/nothing 1", WeightsError),
    ("explode embedded/one 1", InvalidRequest), ("get embedded/one 1", InvalidRequest),
    ("halt nothing 1", InvalidRequest), (f"get {WISHES[-1].id} 1", WeightsError),
    ("", WeightsError), ("load", WeightsError),
    ("download embedded/one 1", WeightsError)])
def test_what_no_button_says_is_refused(inventory: ModelInventory, words: str,
                                        error: type[EaselError]) -> None:
    with pytest.raises(error):
        perform(inventory, words)


def test_a_machine_is_advised_what_fits_it(inventory: ModelInventory) -> None:
    entries = [entry(part, "vqgan").model_copy(update={
        "repository": "someone/pictures", "download_bytes": 10**9,
        "vram_bytes": 10**10 if part == "kandinsky/2-2-unet" else 10**9})
        for wish in WISHES for part in wish.parts]
    inventory.catalogue = Catalogue(tuple({each.id: each for each in entries}.values()))
    found = states(inventory.rows())
    slow, fast = (Rates({"float32": flops}, moved) for flops, moved in ((1e11, 2e10), (1e14, 2e12)))

    def first(memory_bytes: int, disk_bytes: int, rates: Rates) -> list[str]:
        return advised(found, Machine("", memory_bytes, disk_bytes, rates))

    assert first(2 * 10**9, 10**11, slow) == ["draw-mega", "draw-janus", "judge-clip"]
    assert first(10**11, 10**11, slow) == ["draw-mega", "draw-janus", "judge-clip"], "a long wait"
    assert first(10**11, 10**11, fast) == ["draw-flux2", "draw-kandinsky", "draw-mega"]
    assert first(10**11, 15 * 10**8, fast) == ["draw-janus", "judge-clip", "judge-siglip"]
    assert first(10**8, 10**11, fast) == []
    unknown = Machine("", None, None, slow)
    assert unknown.seconds(WISHES[0]) == pytest.approx(0.45e12 / 1e11 / REACHED)
    assert unknown.seconds(WISHES[-1]) is None


def test_the_card_says_how_long_a_picture_may_take(inventory: ModelInventory) -> None:
    machine = Machine("", 24 * 10**9, 72 * 10**9, Rates({"float32": 1e11}, 2e10))
    shown = render_wishes(inventory, machine=machine)
    assert "no GPU, 24.0 GB of memory and 72.0 GB free on disk" in shown
    assert "about 11 s a picture here, estimated" in shown
    assert "estimated" not in render_wishes(inventory, took_s=lambda wish: 12., machine=machine)
    here = machine_of(inventory)
    assert here.rates.best_flops > 0
    assert here.free_disk_bytes is not None


def test_a_load_that_fails_says_why(inventory: ModelInventory) -> None:
    (inventory.catalogue.weights_dir / "one" / "model.safetensors").write_bytes(b"<html>")
    perform(inventory, "load embedded/one 1")
    until(lambda: bool(row_of(inventory, "embedded/one").error))
    assert "damaged or was exchanged" in row_of(inventory, "embedded/one").error
    assert "damaged or was exchanged" in render_models(inventory)
    perform(inventory, "load embedded/two 1")
    until(lambda: row_of(inventory, "embedded/two").state == "on the device")


def test_the_html_is_inert_and_says_size_and_licence_before_a_download(
        inventory: ModelInventory) -> None:
    html = render_wishes(inventory, refused=SCRIPT) + render_models(inventory)
    assert "<img" not in html
    assert "about 12 MB" in html
    assert "licence not stated" in html
    assert f'data-act="download" data-model="{PUBLIC}"' in html
    assert json.loads(json.dumps(inventory.figures()))["models"][2]["download_bytes"] == 12_000_000


def test_a_card_grants_a_whole_wish(inventory: ModelInventory) -> None:
    html = render_wishes(inventory)
    assert html.count("<article") == 1, "a wish without all of its models has no card"
    assert f"Draws anything, the smallest: {with_names('DALL·E mini')}" in html
    assert "about 1.0 GB" in html
    assert f'data-act="get" data-model="{WISH.id}"' in html
    assert "12 s for your last picture" in render_wishes(inventory, took_s=lambda wish: 12.)
    assert "data-act" not in render_wishes(inventory, may_act=False)


def test_what_tells_models_of_a_family_apart_stays_with_its_name() -> None:
    """No digit stands behind a blank or a hyphen at which a line may end."""
    titles = [each.title for each in Catalogue.load()] + [wish.by for wish in WISHES]
    assert with_names("SigLIP 2 & <i>") == '<span class="name">SigLIP 2</span> &amp; &lt;i&gt;'
    for title in titles:
        rest = re.sub('<span class="name">[^<]*</span>', "", with_names(title))
        assert not re.search(r"\w[ -]\d|ViT|DALL·E m|FLUX", rest), title


def test_wishes_name_models_that_there_are_and_no_generator_is_left_out() -> None:
    known = {each.id for each in Catalogue.load()}
    assert {part for wish in WISHES for part in wish.parts} <= known
    drawn = {wish.drawn_by(kind() for kind in GENERATORS) for wish in WISHES}
    for kind in GENERATORS:
        if any(not model.startswith("embedded/") for model in kind.models):
            assert kind.name in drawn


def test_what_ends_while_it_is_shown_is_shown_once_more(tmp_path: Path) -> None:
    made = inventory_in(tmp_path)

    class Ending(ModelInventory):
        """The inventory of a download that ends as soon as somebody has seen it."""

        def rows(self) -> list[ModelRow]:
            seen = super().rows()
            download.end("cancelled")
            return seen

    inventory = Ending(made.cache, made.catalogue, made.downloads)
    download = made.downloads._downloads[WISH.parts[1]] = Download(WISH.parts[1])
    with gr.Blocks() as blocks, gr.Tab() as tab:
        build_models(inventory, tab, ModelAdmins("everyone"))
    show = next(function.fn for function in blocks.fns.values()
                if any(event == "tick" for _, event in function.targets))
    assert show is not None
    cards, _, timer = show(gr.Request(None)).values()
    assert "downloading" not in cards or timer.active
    cards, _, timer = show(gr.Request(None)).values()
    assert "downloading" not in cards
    assert not timer.active
    made.close()
    made.cache.close()


def test_models_from_no_catalogue_have_no_tab() -> None:
    assert inventory_of(linear_cache()) is None
    assert inventory_of(None) is None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, Hub]]:
    """The page with these models, and the hub that it downloads from."""
    folder = tmp_path_factory.mktemp("models")
    inventory = inventory_in(folder)
    files = {name: (folder / "one" / name).read_bytes()
             for name in ("config.json", "model.safetensors")}
    hub = Hub({"someone/pictures": Repository("c" * 40, files)})
    with pytest.MonkeyPatch.context() as patch, serve_hub(hub):
        patch.setenv("HF_ENDPOINT", hub.url)
        app = App(cache=inventory.cache)
        yield app, hub
        app.close()


def test_the_endpoint_says_the_same_figures(served: tuple[App, Hub]) -> None:
    app, _ = served
    figures = app.client().predict(api_name="/models")
    assert figures["memory"]["budget_bytes"] == 6_000_000
    assert [model["id"] for model in figures["models"]] == [
        "embedded/one", "embedded/two", PUBLIC, *WISH.parts]
    assert {"licence", "source", "disk_bytes", "state", "last_load_s", "hits", "misses",
            "evictions"} <= set(figures["models"][0])


def open_table(page: Page) -> None:
    page.get_by_role("button", name=strings.MODELS_ALL).click()
    expect(page.locator("table.models")).to_be_visible()


@pytest.fixture
def page(served: tuple[App, Hub], browser: Browser) -> Iterator[Page]:
    """The tab in Chromium."""
    page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(served[0].url)
    page.get_by_role("tab", name="Models").click()
    open_table(page)
    yield page
    page.close()


@pytest.mark.browser
@needs_chromium
def test_buttons_in_the_page(served: tuple[App, Hub], page: Page) -> None:
    _, hub = served
    row = page.locator('tr[data-row="embedded/one"]')
    expect(row.locator(".state")).to_have_text("on disk")
    row.get_by_role("button", name="Load: test model").click()
    expect(row.locator(".state")).to_have_text("on the device")
    expect(page.get_by_role("meter", name="Models on the device")).to_have_attribute(
        "aria-valuetext", re.compile(r"^[\d.]+ [kM]B of 6\.0 MB$"))
    row.get_by_role("button", name="Pin").click()
    expect(row.locator(".state")).to_contain_text("pinned")
    row.get_by_role("button", name="Unload").click()
    expect(row.locator(".state")).to_have_text("on disk")

    public = page.locator(f'tr[data-row="{PUBLIC}"]')
    assert public.locator("img").count() == 0
    hub.hang_after = 2**16
    public.get_by_role("button", name="Download").click()
    expect(public.locator(".state")).to_contain_text("downloading")
    public.get_by_role("button", name="Cancel").click()
    expect(public.locator(".state")).to_have_text("not downloaded")
    hub.hang_after = None
    public.get_by_role("button", name="Download").click()
    expect(public.get_by_role("button", name=re.compile("^Load"))).to_be_visible()
    public.get_by_role("button", name=re.compile("^Load")).click()
    expect(public.locator(".state")).to_have_text("on the device")

    # Drawn anew between the two halves of a press, as by the clock: it counts all the same.
    row.get_by_role("button", name="Load: test model").hover()
    page.mouse.down()
    page.evaluate("""() => { const place = document.querySelector("#models-table table");
        place.innerHTML += ""; }""")
    page.mouse.up()
    expect(row.locator(".state")).to_have_text("on the device")
    card = page.locator(f'[data-card="{WISH.id}"]')
    # From any other list of the page: a button that names the model.
    page.evaluate("""(id) => {
        const button = document.createElement("button");
        button.dataset.fetch = id;
        document.querySelector(".gradio-container").append(button);
        button.click();
    }""", WISH.parts[0])
    expect(page.locator(".fetch-lines")).to_contain_text("is on this machine now.")
    page.get_by_role("tab", name="Generate").click()
    page.get_by_role("tab", name="Models").click()
    expect(card.locator(".state")).to_contain_text("1 of 2 parts here, 500 MB to come")
    hub.hang_after = 2**16
    card.get_by_role("button", name="Download").click()
    expect(card.locator(".state")).to_contain_text("downloading")
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".state")).to_contain_text("500 MB to come")
    hub.hang_after = None
    card.get_by_role("button", name="Download").click()
    expect(card).to_have_class(re.compile(r"\bhere\b"))
    expect(card.get_by_role("button")).to_have_count(0)
    for part in WISH.parts:
        expect(page.locator(f'tr[data-row="{part}"] .state')).to_have_text("on disk")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@needs_chromium
def test_who_may_not_has_no_buttons_until_the_password(tmp_path: Path, browser: Browser) -> None:
    inventory = inventory_in(tmp_path)
    app = App(cache=inventory.cache, models_by="nobody", models_password="wren")
    page = browser.new_page(viewport={"width": PHONE[0], "height": PHONE[1]})
    page.set_default_timeout(PATIENCE_MS)
    try:
        page.goto(app.url)
        page.get_by_role("tab", name="Models").click()
        expect(page.locator("#models .hint").first).to_have_text(strings.MODELS_LOOK)
        open_table(page)
        assert page.locator("[data-act]").count() == 0
        # What a script could send without a button is refused as well.
        page.locator("#model-act textarea, #model-act input").evaluate(
            "(field) => { field.value = 'load embedded/one 1';"
            " field.dispatchEvent(new Event('input', {bubbles: true})); }")
        expect(page.locator("#models [role=alert]")).to_contain_text("enter it above")
        assert app.cache.stats().used_bytes == 0
        page.locator("#models-password-field input").fill("wren")
        page.locator("#models-enter").click()
        expect(page.locator("#models-table [data-act=load]").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        page.close()
        app.close()
        inventory.close()
