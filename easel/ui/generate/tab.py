"""Generate: ask on the left, pictures on the right."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from typing import Any

import gradio as gr

from easel.serving.best_of import MAX_DRAWN
from easel.ui.generate.address import connect_address
from easel.ui.generate.drawable import build_drawable
from easel.ui.generate.examples import render_examples
from easel.ui.generate.lesson import render_lessons
from easel.ui.generate.paused import build_paused, connect_paused
from easel.ui.generate.presets import build_presets, connect_presets
from easel.ui.generate.recall import connect_recall
from easel.ui.generate.render import render_earlier, render_empty, render_keys
from easel.ui.generate.run import Stage, Staged, prepare, stream_run
from easel.ui.parts.controls import (
    MAX_TYPED_CHARS,
    GenerateInputs,
    PipelineControls,
    build_choice,
    build_pictures,
    meant_options,
)
from easel.ui.parts.lines import Updates
from easel.ui.parts.live_run import LiveRun
from easel.ui.parts.option_form import OptionForms, build_option_forms
from easel.ui.parts.page_words import fill_html, worded_html
from easel.ui.parts.picture_inputs import build_shown, connect_shown
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.prompt_note import build_note, render_note
from easel.ui.parts.samples import load_samples
from easel.ui.parts.task import Asked, Task, Tasks, build_alert
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.uploads import IMAGE_SUFFIXES
from easel.ui.playground import Playground
from easel.ui.queue.part import build_queue
from easel.words import strings
from pipelines.core.sentences import Sentence

PLACE = "generate"
SHOW_BEST = "() => window.easelShowBest()"  # page.js
# An address may bring a prompt, ?prompt=a+cat, and settings (see easel.ui.generate.address).
# Less NUL, which no text may hold.
ASKED_JS = ("(now) => new URLSearchParams(location.search).get('prompt')"
            "?.slice(0, 2000).replaceAll('\\0', '') ?? now")


def build_generate(playground: Playground, page: gr.Blocks, tasks: Tasks, store: PictureStore,
                   html: gr.HTML) -> GenerateInputs:
    """Lay the tab out and connect it; ``html`` is where the pictures go."""
    with gr.Column(elem_id="desk"):
        with gr.Column(elem_id="ask"):
            prompt, note = _build_prompt(playground)
            shown = build_shown("init")
            filled_note = gr.HTML("", elem_id="filled-note", **PLAIN)
            controls = _build_generators(playground)
            with gr.Row(elem_id="buttons"):
                generate = gr.Button(strings.GENERATE, variant="primary", size="lg",
                                     elem_id="generate")
                # In the place of Generate while something runs (style.css).
                add = gr.Button(strings.QUEUE_ADD, size="lg", elem_id="queue-add")
                pause = gr.Button(strings.PAUSE, size="lg", interactive=False, elem_id="pause",
                                  visible=any(map(playground.can_pause,
                                                  playground.registry.names())))
                resume = gr.Button(strings.RESUME, size="lg", visible=False, elem_id="go-on")
                stop = gr.Button(strings.STOP, size="lg", interactive=False, elem_id="stop")
            refused = build_alert(PLACE)
            worded_html(render_keys)
            build_queue()
        html.render()
        samples = load_samples(html, playground.registry)
        fill_html(html, lambda: render_empty(samples))
        with gr.Column(elem_id="more"):
            worded_html(render_examples, elem_id="examples")
            surprise = gr.Button(strings.SURPRISE, size="sm", elem_id="surprise",
                                 visible=playground.surprise is not None)
            if playground.reader is not None:
                build_drawable(html)
            dropped = gr.File(label=strings.RECALL_LABEL, file_count="single", type="filepath",
                              file_types=IMAGE_SUFFIXES, height=64, elem_id="recall",
                              elem_classes="upload")
            seed, best_of, options = _build_settings(playground, controls)
            paused = build_paused(playground)
            worded_html(lambda: render_lessons({p.name: p.lesson for p in playground.registry}),
                        elem_id="lessons")
    _connect_words(playground, page, prompt, note, surprise)
    handed = gr.Textbox(visible="hidden")
    stage = Stage(html, pause, resume, gr.Textbox(visible="hidden"))
    task = tasks.add(PLACE, generate, stop, stage.components(), refused,
                     idle={pause: gr.update(interactive=False)}, stacked=html,
                     wrap=render_earlier)
    drawn = _connect_run(playground, store, task, stage, add, prompt, seed, best_of, controls,
                         options, handed)
    connect_shown([group.pictures for group in controls], shown,
                  [generate.click, add.click, prompt.submit], handed)
    if paused is not None:
        connect_paused(playground, store, paused, task, stage, drawn)
    # Here and not in the tab of the history, which is not there before it was opened.
    hand_off = gr.Textbox(visible="hidden", elem_id="hand-off")
    inputs = GenerateInputs(prompt, seed, controls, filled_note, dropped, hand_off, options, handed)
    starter = inputs.init_target()
    hand_off.label = ""
    if starter is not None and playground.history is not None:
        hand_off.label = Sentence(strings.START_FROM, starter.pipeline.title)
    connect_recall(inputs, playground.history)
    connect_address(page, inputs, best_of, playground.registry, playground.live, PLACE)
    return inputs


def _build_prompt(playground: Playground) -> tuple[gr.Textbox, gr.HTML]:
    prompt = gr.Textbox(value=strings.FIRST_PROMPT, label=strings.PROMPT_LABEL, lines=2,
                        max_lines=6, placeholder=strings.PROMPT_PLACEHOLDER, elem_id="prompt",
                        max_length=MAX_TYPED_CHARS)
    return prompt, build_note(playground.reader, prompt, "prompt-note")


def _build_generators(playground: Playground) -> list[PipelineControls]:
    with gr.Column(elem_id="generators"):
        worded_html(lambda: f"<span>{strings.GENERATORS_LABEL}</span>"
                            f"<span>{strings.COUNT_LABEL}</span>", elem_classes="heads")
        controls = [build_choice(pipeline, chosen=True) for pipeline in playground.registry]
        for pipeline in playground.registry.waiting():
            with gr.Column(visible=False) as place:
                controls.append(build_choice(pipeline, chosen=False))
            controls[-1].places.append(place)
    return controls


def _build_settings(playground: Playground, controls: list[PipelineControls],
                    ) -> tuple[gr.Textbox, gr.Number, OptionForms]:
    with gr.Accordion(strings.SETTINGS_LABEL, open=False, elem_id="settings") as fold:
        # Text, because Gradio shows an empty number as 0.
        seed = gr.Textbox(label=strings.SEED_LABEL, info=strings.SEED_INFO, max_lines=1,
                          placeholder=strings.SEED_PLACEHOLDER, elem_id="seed")
        best_of = gr.Number(0, label=strings.BEST_OF, info=strings.BEST_OF_INFO, precision=0,
                            minimum=0, maximum=MAX_DRAWN, elem_id="best-of")
        presets = build_presets()
        options = build_option_forms(group.pipeline for group in controls)
        for group in controls:
            with gr.Column(visible=False) if group.places else nullcontext() as place:
                build_pictures(group)
            if place is not None:
                group.places.append(place)
    connect_presets(playground, presets, fold, controls, options, best_of)
    return seed, best_of, options


def _connect_words(playground: Playground, page: gr.Blocks, prompt: gr.Textbox, note: gr.HTML,
                   surprise: gr.Button) -> None:
    """The prompt that is there from the start is read too; Surprise me draws a caption."""
    page.load(None, prompt, prompt, js=ASKED_JS, api_visibility="private").then(
        lambda text: render_note(playground.reader, text or "", str(prompt.elem_id)),
        prompt, note, **LIVE)
    if playground.surprise is not None:
        surprise.click(playground.surprise, None, prompt, **LIVE)


def _connect_run(playground: Playground, store: PictureStore, task: Task,
                 stage: Stage, add: gr.Button, prompt: gr.Textbox, seed: gr.Textbox,
                 best_of: gr.Number, controls: list[PipelineControls], options: OptionForms,
                 handed: gr.Textbox) -> Any:
    """Connect Generate, and what lets another run wait behind the one that runs."""
    can_pause = any(map(playground.can_pause, playground.registry.names()))

    def draw(asked: Asked) -> Generator[Updates]:
        values = asked.values
        chosen = options.read(values[options.text])
        choices = []
        for group in controls:
            set_options = meant_options(group.pipeline, chosen.get(group.pipeline.name, {}),
                                        asked.text(prompt),
                                        asked.text(handed) if group.has_init(values) else "")
            if fields := group.read(values, set_options):
                choices.append(fields)
        requests = prepare(playground, values[prompt] or "", values[seed] or None, choices)
        return stream_run(playground, store, requests, asked.run, values[best_of] or 0,
                          Staged(stage, can_pause))

    inputs = [prompt, seed, best_of, options.text, handed,
              *(c for group in controls for c in group.components())]

    def found(live: LiveRun) -> Updates:
        asked = live.subject.values  # a paused run that was resumed was asked for elsewhere
        return options.updates(options.read(asked[options.text])) if options.text in asked else {}

    task.returns(inputs, more=[options.html], found=found, addressed=True)
    drawn = task.starts([task.go.click, prompt.submit], draw, inputs, queues=True, about=prompt)
    drawn.then(None, None, None, js=SHOW_BEST, api_visibility="private")
    # Once more while an earlier press, which came too late to wait, is still being answered.
    task.starts([add.click], draw, inputs, queues=True, about=prompt, often=True)
    return drawn
