"""Pause, resume and branch on the page and through the API, and the videos of both."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from easel.ui.generate.render import render_panel
from easel.ui.parts.panel import Panel
from easel.words import strings
from pipelines.core.events import Earlier, Mark, Progress
from pipelines.core.metadata import read_png
from pipelines.models.cache.cache import ModelCache
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_browser import DESKTOP, PATIENCE_MS, PHONE, browser  # noqa: F401  (a fixture)
from tests.test_browser import pytestmark as browser_marks
from tests.watched_sketch import WatchedSketch
from tests.windows import Windows

LONG = {"num_cutouts": 1, "iterations": 900, "precision": "float32", "preview_every": 1}



@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


@pytest.fixture(scope="module")
def app(cache: ModelCache) -> Iterator[App]:
    served = App([VQGANCLIPPipeline(), WatchedSketch()], cache)
    yield served
    served.close()


def paused(client: Client) -> dict[str, Any]:
    """Pause a long run after a few steps; what /generate says of it at the end."""
    job = client.submit("a red apple", ["vqgan_clip"], 1, 5, {"vqgan_clip": LONG}, None, None,
                        api_name="/generate")
    end = time.monotonic() + 60
    while not any(details["panels"][0]["step"] > 2 for _, details in job.outputs()):
        assert time.monotonic() < end, "the run does not begin"
        time.sleep(0.05)
    assert client.predict(api_name="/pause") == 1
    files, details = job.result(timeout=60)
    assert not files
    return details["panels"][0]


def frames_of(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_api_pauses_branches_and_resumes(app: App) -> None:
    client, other = app.client(), app.client()
    panel = paused(client)
    assert panel["phase"] == "paused"
    (run,) = client.predict(api_name="/paused_runs")
    assert (run["run_id"], run["step"], run["prompt"]) == (
        panel["run_id"], panel["step"], "a red apple")
    assert other.predict(api_name="/paused_runs") == []
    for endpoint in ("/resume", "/branch", "/delete_paused_run"):
        with pytest.raises(AppError, match="no such paused run"):
            other.predict(run["run_id"], api_name=endpoint)
    end = run["step"] + 2
    with pytest.raises(AppError, match="Noise must be a number"):
        client.predict(run["run_id"], noise="much", api_name="/branch")
    files, details = client.predict(run["run_id"], "a blue car", end, video=True,
                                    api_name="/branch")
    assert [Path(file).suffix for file in files] == [".png", ".mp4"]
    assert len(details["pictures"]) == 1
    assert frames_of(Path(files[1]).read_bytes()) > end, "the frames before the pause too"
    facts = read_png(Path(files[0]).read_bytes())["easel"]
    (change,) = facts["changes"]
    assert (change["step"], change["prompt"], change["branch_of"]) == (
        run["step"], "a blue car", run["run_id"])
    files, details = client.predict(run["run_id"], None, end, api_name="/resume")
    assert details["panels"][0]["step"] == end
    assert client.predict(api_name="/paused_runs") == []
    with pytest.raises(AppError, match="no such paused run"):
        client.predict(run["run_id"], api_name="/delete_paused_run")


def test_what_runs_otherwise_is_not_paused(app: App) -> None:
    client = app.client()
    assert client.predict(api_name="/pause") == 0
    job = client.submit("a dog", ["sketch"], 1, 5, {"sketch": {"steps": 400, "pause_s": 0.05}},
                        api_name="/generate")
    end = time.monotonic() + 30
    while not any(details["panels"][0]["step"] for _, details in job.outputs()):
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(AppError, match="cannot be paused"):
        client.predict(api_name="/pause")
    client.predict(api_name="/stop")
    job.result(timeout=30)


def test_videos_have_addresses_that_cannot_be_guessed(app: App) -> None:
    for name in ("x", "../../history", "a" * 22, "%2e%2e%2f" * 3):
        answer = httpx.get(f"{app.url}videos/{name}.mp4")
        assert answer.status_code == 404
        assert "Traceback" not in answer.text
        assert httpx.get(f"{app.url}videos/{name}/0").status_code == 404


def test_a_change_is_marked_on_the_curve() -> None:
    panel = Panel("vqgan_clip", "VQGAN+CLIP", "a <b>", 1)
    curve = {"loss": tuple((step, 1 / step) for step in range(1, 11))}
    marks = (Mark(5, {"prompt_before": "a", "prompt": "a <b>", "branch_of": "0" * 32}),)
    panel.show_progress(Progress(10, 20, 1.0, earlier=Earlier(curve, marks)))
    panel.show_progress(Progress(11, 20, 2.0, losses={"loss": 0.05}))
    html = render_panel(panel, crowded=False)
    assert re.search(r'<line x1="96\.0" x2="96\.0"', html), "at 4 of 10 steps of 240 px"
    assert "<li>Step 5: branch, prompt “a &lt;b&gt;”</li>" in html
    assert panel.losses["loss"][-1] == (11, 0.05)
    assert "about 18 s left" in panel.status(), "by the steps of this part alone"


@pytest.fixture
def open_page(app: App, windows: Windows) -> Iterator[Any]:
    contexts = []

    def open_at(size: tuple[int, int]) -> Page:
        page = windows.new_page(size)
        contexts.append(page.context)
        page.set_default_timeout(PATIENCE_MS)
        page.goto(app.url)
        page.wait_for_selector("#generate:not(:disabled)")
        return page

    yield open_at
    for context in contexts:
        windows.take_back(context, [app.url])


def fill(page: Page, label: str, value: str) -> None:
    """Set a number; a fold that has just opened may still put its first value in."""
    field = page.get_by_label(f"number input for {label}").first
    for _ in range(10):
        field.fill(value)
        field.blur()
        page.wait_for_timeout(300)
        if field.input_value() == value:
            return
    raise AssertionError(f"{label} does not take {value}")


class TestPage:
    """In the browser."""

    pytestmark = browser_marks

    @pytest.mark.parametrize("size", [PHONE, (1024, 768)])
    def test_no_room_is_kept_for_what_a_paused_run_does_not_say(
            self, open_page: Any, size: tuple[int, int]) -> None:
        page = open_page(size)
        page.locator("#choose-sketch input").uncheck()
        page.get_by_role("button", name=strings.SETTINGS_LABEL).click()
        fill(page, "Iterations", "900")
        page.locator("#generate").click()
        panel = page.locator('.panel[aria-label="VQGAN+CLIP"]')
        expect(panel.locator(".status")).to_contain_text(re.compile(r"Step [3-9]"))
        page.locator("#pause").click()
        expect(panel.locator(".status")).to_contain_text("Paused at step")
        above = ("(e) => e.getBoundingClientRect().top"
                 " - e.closest('.run').getBoundingClientRect().top")
        assert panel.evaluate(above) < 20
        page.locator("#go-on").click()
        expect(panel.locator(".status")).to_contain_text("Step")
        expect(page.locator("#stage .run-head")).to_have_count(1)
        room = panel.evaluate(above)  # for what will be said of its pictures
        assert room > 40
        page.locator("#stop").click()
        expect(panel.locator(".tile.done")).to_have_count(1)
        expect(page.locator("#generate")).to_be_enabled()
        assert panel.evaluate(above) == room

    def test_pause_branch_and_resume_on_the_page(self, open_page: Any) -> None:
        page = open_page(DESKTOP)
        page.locator("#choose-sketch input").uncheck()
        page.get_by_role("button", name=strings.SETTINGS_LABEL).click()
        fill(page, "Iterations", "900")
        page.locator("#generate").click()
        expect(page.locator("#pause")).to_be_enabled()
        panel = page.locator('.panel[aria-label="VQGAN+CLIP"]')
        expect(panel.locator(".status")).to_contain_text(re.compile(r"Step [3-9]"))
        page.locator("#pause").click()
        expect(panel.locator(".status")).to_have_text(
            re.compile(r"^Paused at step \d+ of 900; it waits under Paused runs$"))
        expect(panel.locator("img")).to_have_count(1)
        expect(page.locator("#generate")).to_be_enabled()
        expect(page.locator("#pause")).to_be_hidden()
        page.locator("#go-on").click()  # stands where Pause was
        expect(panel.locator(".status")).to_contain_text("Step")
        expect(page.locator("#go-on")).to_be_hidden()
        expect(page.locator("#pause")).to_be_enabled()
        page.locator("#pause").click()
        expect(panel.locator(".status")).to_contain_text("Paused at step")
        expect(page.locator("#go-on")).to_be_visible()
        step = int(re.findall(r"\d+", panel.locator(".status").inner_text())[0])

        page.reload()  # what is paused belongs to the visitor, not to the page
        page.wait_for_selector("#generate:not(:disabled)")
        page.locator("#paused .label-wrap").click()
        expect(page.locator(".paused-run")).to_contain_text(f"step {step} of 900")
        expect(page.locator(".paused-run img")).to_have_attribute("src", re.compile("^data:image/"))
        prompt = page.locator("#paused-prompt textarea, #paused-prompt input")
        expect(prompt).to_have_value(strings.FIRST_PROMPT)
        prompt.fill("a blue car")
        for _ in range(2):  # shut and opened again, it keeps what was typed
            page.locator("#paused .label-wrap").click()
        page.wait_for_timeout(700)  # for the server's answer, which must not change it
        expect(prompt).to_have_value("a blue car")
        steps = page.get_by_label(strings.PAUSED_STEPS)
        steps.fill(str(step + 2))
        page.locator("#branch").click()
        expect(panel.locator(".tile.done")).to_have_count(1)
        expect(panel.locator(".curve line")).to_have_count(2)
        expect(panel.locator(".marks")).to_have_text(
            f"Step {step}: branch, prompt “a blue car”, {step + 2} steps")
        with page.expect_download() as saved:
            panel.get_by_role("link", name=strings.VIDEO).click()
        # The same in the page, with steps.
        player = panel.locator(".player")
        player.locator("summary").click()
        expect(player.locator("output")).to_have_text(f"Step {step + 2}")
        expect(player.locator("img")).to_have_js_property("complete", True)
        last = player.locator("img").evaluate("image => image.src")
        player.locator("input").fill("0")
        expect(player.locator("output")).to_have_text(re.compile("^Preview 1 of "))
        previews = int(player.locator("output").inner_text().split()[-1])
        assert player.locator("img").evaluate("image => image.src") != last
        player.get_by_role("button", name=strings.PLAYER_PLAY).click()
        expect(player.locator("output")).to_have_text(f"Step {step + 2}")
        expect(player.locator("img")).to_have_js_property("complete", True)
        assert player.locator("img").evaluate("image => image.naturalWidth") > 0
        expect(panel.locator(".curve .to").first).to_have_text(f"step {step + 2}")
        # All that the player has, its last one for a second and a half. How many that are is the
        # machine's: a preview that is not read in time gives way to the next.
        assert previews >= 2
        assert frames_of(Path(saved.value.path()).read_bytes()) >= 5 + previews

        expect(prompt).to_have_value(strings.FIRST_PROMPT)
        steps.fill(str(step + 1))
        page.locator("#resume").click()
        expect(panel.locator(".marks")).to_have_text(f"Step {step}: {step + 1} steps")
        expect(page.locator("#paused-about")).to_have_text(strings.PAUSED_NONE)
        expect(page.locator("#paused-form")).to_have_count(0)

    def test_a_phone_has_room_for_pause(self, open_page: Any) -> None:
        page = open_page(PHONE)
        page.locator("#paused .label-wrap").click()
        expect(page.locator("#paused-about")).to_have_text(strings.PAUSED_NONE)
        boxes = [page.locator(name).bounding_box() for name in ("#generate", "#pause", "#stop")]
        assert len({box["y"] for box in boxes if box}) == 1, "the three are in one row"
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
