"""Paused runs, a fold of the Generate tab: resume, branch or delete one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.serving.paused_runs import PausedRun
from easel.ui.generate.render import render_paused, render_paused_none
from easel.ui.generate.run import Stage, Staged, stream_resumed
from easel.ui.parts.choice import on_choice
from easel.ui.parts.errors import one_sentence
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked, Task, Work
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.saved_run import MAX_NOISE, checked_changes

PLACE = "generate"


@dataclass
class PausedParts:
    """The components of the fold.

    Attributes:
        chosen: id of the run that is shown.
        form: everything that needs a run.
        about: the run's last preview and where it stands, or that there is none.
    """

    fold: gr.Accordion
    chosen: gr.Dropdown
    about: gr.HTML
    form: gr.Column
    prompt: gr.Textbox
    steps: gr.Number
    seed: gr.Textbox
    noise: gr.Number
    resume: gr.Button
    branch: gr.Button
    delete: gr.Button

    def change(self) -> list[gr.components.Component]:
        """What says how the run is resumed."""
        return [self.chosen, self.prompt, self.steps, self.seed, self.noise]

    def shown(self) -> list[Any]:
        """What follows from the choice of a run."""
        return [self.about, self.form, self.prompt, self.steps, self.seed, self.noise]

    def show(self, run: PausedRun | None, keep: bool = False) -> Updates:
        """A run.

        Args:
            run: None where there is none.
            keep: whether what a person has begun to change stays as it is.
        """
        if run is None:
            return {self.about: render_paused_none(), self.form: gr.update(visible=False)}
        fields = {} if keep else {self.prompt: run.prompt, self.steps: run.total or None,
                                  self.seed: "", self.noise: 0}
        return {self.about: render_paused(run), self.form: gr.update(visible=True), **fields}


def build_paused(playground: Playground) -> PausedParts | None:
    """Lay the fold out; None where no run can be paused."""
    if not any(playground.can_pause(name) for name in playground.registry.names()):
        return None
    with gr.Accordion(strings.PAUSED_RUNS, open=False, elem_id="paused") as fold:
        chosen = gr.Dropdown([], label=strings.PAUSED_RUN, filterable=False, visible=False,
                             elem_id="paused-run")
        about = gr.HTML("", elem_id="paused-about", **PLAIN)
        with gr.Column(visible=False, elem_id="paused-form") as form:
            prompt = gr.Textbox(label=strings.PAUSED_PROMPT, info=strings.PAUSED_PROMPT_INFO,
                                max_lines=4, elem_id="paused-prompt")
            build_note(playground.reader, prompt, "paused-note")
            with gr.Row(elem_id="paused-numbers"):
                steps = gr.Number(label=strings.PAUSED_STEPS, precision=0, min_width=80)
                seed = gr.Textbox(label=strings.PAUSED_SEED, max_lines=1, min_width=80,
                                  placeholder=strings.PAUSED_SEED_PLACEHOLDER)
                noise = gr.Number(0, label=strings.PAUSED_NOISE, minimum=0, maximum=MAX_NOISE,
                                  step=0.05, min_width=80)
            with gr.Row(elem_id="paused-buttons"):
                resume = gr.Button(strings.RESUME, size="sm", elem_id="resume")
                branch = gr.Button(strings.BRANCH, size="sm", elem_id="branch")
                delete = gr.Button(strings.PAUSED_DELETE, size="sm", elem_id="paused-delete")
            worded_html(lambda: f'<p class="hint">{strings.RESUME_INFO}</p>')
    return PausedParts(fold, chosen, about, form, prompt, steps, seed, noise, resume, branch,
                       delete)


def connect_paused(playground: Playground, store: PictureStore, parts: PausedParts,
                   task: Task, stage: Stage, drawn: Any) -> None:
    """Connect the fold and the Pause button.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        parts: the fold.
        task: what Generate starts.
        stage: where its pictures go, and the buttons that pause what runs now and go on with it.
        drawn: the event of Generate, after which there may be another paused run.
    """
    runs = playground.backend.paused
    assert runs is not None

    @one_sentence
    def listed(request: gr.Request, chosen: str | None, keep: bool = False) -> Updates:
        found = runs.of(visitor_of(request))
        shown = next((run for run in found if run.run_id == chosen), found[0] if found else None)
        choices = [(_line(run), run.run_id) for run in found]
        keep = keep and shown is not None and shown.run_id == chosen
        return {parts.chosen: gr.update(choices=choices, value=shown.run_id if shown else None,
                                        visible=len(found) > 1), **parts.show(shown, keep)}

    def listed_again(request: gr.Request, chosen: str | None) -> Updates:
        return listed(request, chosen, keep=True)

    @one_sentence
    def show(request: gr.Request, chosen: str | None) -> Updates:
        return parts.show(next((run for run in runs.of(visitor_of(request))
                                if run.run_id == chosen), None))

    @one_sentence
    def pause(request: gr.Request) -> None:
        playground.runs.pause(session_of(request), visitor_of(request), PLACE)

    @one_sentence
    def delete(request: gr.Request, chosen: str | None) -> Updates:
        runs.delete(visitor_of(request), chosen or "")
        return listed(request, None)

    all_of = [parts.chosen, *parts.shown()]
    # Not when the page is loaded too: the later answer of the two would put back what was typed.
    parts.fold.expand(listed_again, parts.chosen, all_of, **LIVE)
    on_choice(parts.chosen, show, [], parts.shown())
    parts.delete.click(delete, parts.chosen, all_of, **LIVE)
    stage.pause.click(pause, None, None, **LIVE)
    drawn.then(listed_again, parts.chosen, all_of, **LIVE)
    # What it draws into may be out of sight from here: below on a phone, above on a desk.
    show_stage = """() => {
        const stage = document.querySelector("#stage"), middle = innerHeight / 2;
        const {top, bottom} = stage.getBoundingClientRect();
        if (top > middle || bottom < middle) stage.scrollIntoView({behavior: "smooth"});
    }"""
    for button, is_branch in ((parts.resume, False), (parts.branch, True)):
        task.starts([button.click], _resume_work(playground, store, parts, stage, is_branch),
                    parts.change(), when_busy=strings.PAUSED_GONE_ON,
                    ).then(listed, parts.chosen, all_of, **LIVE)
        button.click(None, None, None, js=show_stage, api_visibility="private")
    # In the place of Pause: the run that was just paused, as it was.
    task.starts([stage.resume.click], _resume_waiting_work(playground, store, stage),
                [stage.waiting],
                when_busy=strings.PAUSED_GONE_ON).then(listed, parts.chosen, all_of, **LIVE)


def _resume_waiting_work(playground: Playground, store: PictureStore, stage: Stage) -> Work:
    def resume(asked: Asked) -> Generator[Updates]:
        return stream_resumed(playground, store, asked.run, asked.text(stage.waiting), {},
                              show=Staged(stage))

    return resume


def _resume_work(playground: Playground, store: PictureStore, parts: PausedParts,
                 stage: Stage, is_branch: bool) -> Work:
    def resume(asked: Asked) -> Generator[Updates]:
        changes = checked_changes(asked.text(parts.prompt).strip(), asked.values[parts.steps],
                                  asked.text(parts.seed).strip(), asked.values[parts.noise])
        return stream_resumed(playground, store, asked.run, asked.text(parts.chosen), changes,
                              is_branch, Staged(stage))

    return resume


def _line(run: PausedRun) -> str:
    if run.fault:
        return run.run_id[:8]
    return strings.PAUSED_LINE.format(run.prompt, run.step, run.total)
