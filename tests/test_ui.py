"""Pieces of the page without a server: controls from options, the state of a run, its HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import gradio as gr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import Field

from easel.ui.generate.render import render_empty, render_run
from easel.ui.parts.controls import build_choice
from easel.ui.parts.option_form import build_option_forms, render_options, slider_step
from easel.ui.parts.panel import Card, Panel, RunView, seconds
from easel.ui.parts.prompt_note import render_reading
from easel.ui.parts.samples import load_samples
from easel.ui.parts.uploads import read_upload
from pipelines.calibration import Calibration
from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.events import Preview, Progress
from pipelines.core.metadata import read_png, save_png
from pipelines.core.options import Options
from pipelines.models.checkpoints.ids import RANKER
from pipelines.prompt_words import Reading, WordRead
from pipelines.registry import Registry, build_registry
from tests.watched_sketch import WatchedSketch

SCRIPT = '<img src=x onerror="alert(1)">'


class Every(Options):
    """One option of each kind."""

    whole: int = Field(3, ge=1, le=9, title="Whole", description="A whole number.")
    share: float = Field(0.5, ge=0, le=1, description="A share.")
    open_ended: int = Field(0, ge=0, description="No upper bound.")
    seedlike: int = Field(0, ge=0, le=2**32, description="Too many values for a slider.")
    mode: Literal["a", "b"] = Field("b", description="A choice.")
    on: bool = Field(True, description="A switch.")
    words: str = Field("", description="A text.")


class _Form(HTMLParser):
    """The fields of a form by the option that they set, each with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, dict[str, str | None]] = {}
        self.sliders: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if name := found.get("data-option"):
            self.fields[name] = found
        elif found.get("type") == "range":
            self.sliders.append(found)


class _Every(WatchedSketch):
    Options = Every


def test_every_kind_of_option_has_a_control_with_its_bounds() -> None:
    form = _Form(render_options(_Every(), {"share": 0.25, "on": False}))
    whole, share = form.fields["whole"], form.fields["share"]
    assert (whole["min"], whole["max"], whole["step"], whole["value"]) == ("1", "9", "1", "3")
    assert whole["aria-label"] == "number input for Whole"
    assert (share["value"], share["data-default"], share["step"]) == ("0.25", "0.5", "any")
    assert [slider["step"] for slider in form.sliders] == ["1", "0.01"]
    assert form.fields["open_ended"]["type"] == form.fields["seedlike"]["type"] == "number"
    assert "max" not in form.fields["open_ended"]
    assert json.loads(form.fields["mode"]["data-default"] or "") == "b"
    assert "data-default" in form.fields["on"]
    assert "checked" not in form.fields["on"]
    assert form.fields["words"]["type"] == "text"


def test_a_form_holds_what_is_filled_in_and_forgets_the_rest() -> None:
    with gr.Blocks():
        forms = build_option_forms([_Every()])
    updates = forms.updates({"sketch": {"whole": 7, "share": 0.5, "unheard_of": 1}, "gone": {}})
    assert forms.read(updates[forms.text]) == {"sketch": {"whole": 7}}
    assert _Form(updates[forms.html]).fields["whole"]["value"] == "7"
    for wrong in ("[", "[]", '{"sketch": 1}'):
        with pytest.raises(InvalidRequest, match="reload the page"):
            forms.read(wrong)


def test_an_upload_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "here.png").write_bytes(b"data")
    assert read_upload(str(tmp_path / "here.png")) == b"data"
    with pytest.raises(InvalidImage, match="no longer there: choose it again"):
        read_upload(tmp_path / "gone.png")


def test_the_number_of_pictures_is_named_by_its_generator() -> None:
    with gr.Blocks():
        counts = [build_choice(WatchedSketch(title=title), True).num_images
                  for title in ("Sketch", "Etching")]
    assert [count.label for count in counts] == ["Pictures: Sketch", "Pictures: Etching"]


def test_sliders_of_the_shipped_generators_reach_their_defaults() -> None:
    for pipeline in build_registry():
        for slider in _Form(render_options(pipeline, {})).sliders:
            low, step, start = (float(slider[name] or 0) for name in ("min", "step", "value"))
            steps = (start - low) / step
            assert abs(steps - round(steps)) < 1e-6, f"{pipeline.name}: {slider['aria-label']}"


@given(st.floats(1e-6, 1e9))
def test_slider_steps_are_round_and_about_a_hundredth(span: float) -> None:
    step = slider_step(span)
    assert 39 <= span / step <= 101
    assert f"{step:.0e}"[0] in "125"


@pytest.mark.parametrize(("value", "text"), [
    (0.04, "0.0 s"), (3.14, "3.1 s"), (9.97, "10 s"), (59.6, "60 s"), (99.6, "1 min 40 s"),
    (120.2, "2 min"), (3661, "61 min 1 s"),
])
def test_durations_are_said_as_people_say_them(value: float, text: str) -> None:
    assert seconds(value) == text


def test_status_says_the_step_the_seconds_and_what_is_left() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 2)
    assert panel.status() == "Next in line"
    panel.show_progress(Progress(0, 0, 0.5, "Loading the VQGAN, 12 MB."))
    assert panel.status() == "Loading the VQGAN, 12 MB."
    panel.show_progress(Progress(16, 64, 2.0))
    assert panel.status() == "Step 16 of 64 · 2.0 s · about 6.0 s left"
    panel.show_progress(Progress(64, 64, 8.0, "Ranking."))
    assert panel.status() == "Step 64 of 64 · 8.0 s · Ranking"
    panel.stop()
    assert panel.status() == "Stopped before a picture was finished."


def card(score: float | None, generator: str = "Sketch") -> Card:
    return Card(Path("/tmp/a.png"), SCRIPT, generator, 1, score, None, (("Fact", SCRIPT),))


def test_pictures_that_are_the_same_are_said_to_be() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 3)
    same = replace(card(0.5), equal_to_seed=1)
    panel.finish([card(0.5), same, same], 2.0, stopped=False)
    assert panel.status() == "3 pictures in 2.0 s · 2 are the same as another and kept once"
    panel.finish([card(0.5)], 2.0, stopped=False)
    assert panel.status() == "1 picture in 2.0 s"


def test_who_stopped_a_run_is_said() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 3)
    panel.finish([card(0.5)], 2.0, stopped=True, limit_s=3)
    assert panel.status() == panel.message == (
        "Stopped after 3 s on the device, the most that a run may take here; the best so far is "
        "kept.")
    panel.finish([card(0.5)], 2.0, stopped=True)
    assert panel.status() == "Stopped after 2.0 s; the best so far is kept"


def test_the_joint_ranking_waits_for_everyone_and_sorts_by_score() -> None:
    first, second = Panel("a", "A", "a cat", 2), Panel("b", "B", "a cat", 1)
    first.finish([card(0.4, "A"), card(0.2, "A")], 1.0, stopped=False)
    view = RunView([first, second])
    assert view.joint_ranking() == []
    second.finish([card(0.3, "B"), card(None, "B")], 1.0, stopped=False)
    assert [c.clip_score for c in view.joint_ranking()] == [0.4, 0.3, 0.2]
    assert RunView([first]).joint_ranking() == []
    # Cosines of several CLIPs say nothing of each other; how many near misses they beat does.
    for panel, name in ((first, "one"), (second, "other")):
        panel.cards = tuple(replace(each, ranker=name) for each in panel.cards)
    assert view.joint_ranking() == []
    scales = [Calibration(tuple(np.linspace(low, low + 0.3, 100)), 0.01, 0.5, 9)
              for low in (0.2, 0.0)]
    for panel, scale in zip((first, second), scales, strict=True):
        panel.cards = tuple(replace(each, scale=scale) for each in panel.cards)
    fits = [each.fit or 0 for each in view.joint_ranking()]
    assert fits == sorted(fits, reverse=True)
    assert view.joint_ranking()[0].ranker == "other"


def test_every_picture_stands_in_one_table_with_its_place_among_all() -> None:
    first, second = Panel("a", "A", "a cat", 2), Panel("b", "B", "a cat", 1)
    cards = [replace(card(score, name), path=Path(f"/tmp/{score}.png"))
             for score, name in ((0.4, "A"), (0.2, "A"), (0.3, "B"))]
    first.finish(cards[:2], 1.0, stopped=False)
    assert 'class="views"' not in render_run(RunView([first, second]))
    second.finish(cards[2:], 1.0, stopped=False)
    html = render_run(RunView([first, second]))
    by_generator, by_clip = html.split("panel ranking")
    marks = re.compile(r'<span class="rank[^"]*">(\d)</span>')
    assert marks.findall(by_generator) == ["1", "3", "2"]
    assert marks.findall(by_clip) == ["1", "2", "3"]
    assert 'value="clip" checked' in by_generator


def test_the_judges_are_named_beside_the_order() -> None:
    panels = [Panel(name, name, "a cat", 1) for name in "ab"]
    for panel, ranker in zip(panels, ("openai/one", "<b>two</b>"), strict=True):
        panel.finish([replace(card(0.3), ranker=ranker)], 1.0, stopped=False)
    assert "In the order of openai/one<" in render_run(RunView(panels[:1]))
    panels[1].cards = tuple(replace(each, ranker="openai/one") for each in panels[1].cards)
    assert "In the order of openai/one<" in render_run(RunView(panels))
    panels[0].cards = (replace(card(0.3), ranker="<b>two</b>"),)
    assert "In the order of &lt;b&gt;two" in render_run(RunView(panels[:1]))
    panels[0].cards = (replace(card(0.3), ranker=RANKER),)
    assert "In the order of ranker CLIP<" in render_run(RunView(panels[:1]))
    panels[0].cards = (card(0.3),)
    assert "In the order of" not in render_run(RunView(panels[:1]))


def test_what_was_left_out_is_folded_once_the_run_is_over() -> None:
    first, second = Panel("a", "A", "a cat", 1), Panel("b", "B", "a cat", 1)
    rejected = [replace(card(0.1, "A"), path=Path(f"/tmp/{n}.png")) for n in range(3)]
    first.finish([card(0.4, "A")], 1.0, False, rejected)
    assert first.status() == "The best of 4 pictures in 1.0 s"
    assert "rejected" not in render_run(RunView([first, second])), "it would close at every step"
    second.finish([card(0.3, "B")], 1.0, stopped=False)
    fold = render_run(RunView([first, second])).split('<details class="rejected">')[1]
    assert "CLIP left out 3 of 4 pictures." in fold
    assert fold.count('loading="lazy"') == 3
    assert fold.count('<span class="rank">4</span>') == 1


def test_texts_from_outside_are_inert() -> None:
    panel = Panel("sketch", SCRIPT, SCRIPT, 2)
    panel.show_progress(Progress(1, 2, 0.1, SCRIPT, {SCRIPT: 1.0}))
    panel.show_progress(Progress(2, 2, 0.2, SCRIPT, {SCRIPT: 0.5}))
    panel.show_preview(Preview(1, np.zeros((1, 8, 8, 3), np.uint8), (0,)))
    drawing = render_run(RunView([panel]))
    panel.finish([card(0.4, SCRIPT)], 1.0, stopped=False)
    done = render_run(RunView([panel]))
    note = render_reading(Reading(SCRIPT, (WordRead(SCRIPT, 0, "near", SCRIPT),
                                           WordRead(SCRIPT, 0, "unknown")), truncated=True))
    for html in (drawing, done, note):
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html


def test_samples_are_described_by_their_own_metadata(tmp_path: Path) -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    facts = {"prompt": SCRIPT, "pipeline": "sketch", "seed": 5, "scores": {"clip": 0.25}}
    save_png(tmp_path / "a.png", image, facts)
    Image.fromarray(image).save(tmp_path / "b.png")  # without metadata
    (tmp_path / "c.png").write_bytes(b"not a picture")
    save_png(tmp_path / "d.png", image, facts | {"pipeline": "retired"})
    registry = Registry()
    registry.register(WatchedSketch())
    samples = load_samples(gr.HTML(), registry, tmp_path)
    assert [(c.generator, c.seed, c.clip_score) for c in samples] == [
        ("Sketch", 5, 0.25), ("retired", 5, 0.25)]
    assert read_png(samples[0].path.read_bytes())["easel"] == facts
    html = render_empty(samples)
    assert html.count("<img") == 2
    assert SCRIPT not in html


def test_a_long_loss_curve_is_thinned_and_keeps_its_end() -> None:
    panel = Panel("sketch", "Sketch", "a cat", 1)
    for step in range(5000):
        panel.show_progress(Progress(step, 5000, 1.0, losses={"loss": 1 / (1 + step)}))
    html = render_run(RunView([panel]))
    assert html.count(",") < 600
    assert "<b>0.000</b>" in html
