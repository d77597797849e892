"""Generate: ask on the left, pictures on the right."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from pipelines.errors import EaselError
from pipelines.request import MAX_PROMPT_CHARS
from serving.best_of import MAX_DRAWN
from ui import strings
from ui.controls import (
    IMAGE_SUFFIXES,
    GenerateInputs,
    PipelineControls,
    build_choice,
    build_options,
)
from ui.examples import render_examples
from ui.generate import one_sentence, prepare, stream_run
from ui.lesson import render_lessons
from ui.pictures import PictureStore
from ui.playground import Playground
from ui.recall import connect_recall
from ui.render import render_empty, render_run, render_vocabulary_note
from ui.run_state import RunView
from ui.samples import load_samples
from ui.theme import LIVE, PLAIN
from ui.visitors import visitor_of

logger = logging.getLogger(__name__)


def build_generate(playground: Playground, page: gr.Blocks, store: PictureStore, stage: gr.HTML,
                   ) -> GenerateInputs:
    """Lay the tab out and connect it; ``stage`` is where the pictures go."""
    with gr.Column(elem_id="desk"):
        with gr.Column(elem_id="ask"):
            prompt, note = _build_prompt()
            filled_note = gr.HTML("", elem_id="filled-note", **PLAIN)
            controls = _build_generators(playground)
            with gr.Row(elem_id="buttons"):
                generate = gr.Button(strings.GENERATE, variant="primary", size="lg",
                                     elem_id="generate")
                stop = gr.Button(strings.STOP, size="lg", interactive=False, elem_id="stop")
            gr.HTML(f'<p class="keys">{strings.KEYS}</p>', **PLAIN)
        stage.render()
        stage.value = render_empty(load_samples(stage, playground.registry))
        with gr.Column(elem_id="more"):
            gr.HTML(render_examples(), elem_id="examples", **PLAIN)
            surprise = gr.Button(strings.SURPRISE, size="sm", elem_id="surprise",
                                 visible=playground.surprise is not None)
            dropped = gr.File(label=strings.RECALL_LABEL, file_count="single", type="filepath",
                              file_types=IMAGE_SUFFIXES, height=64, elem_id="recall",
                              elem_classes="upload")
            seed, best_of = _build_settings(controls)
            gr.HTML(render_lessons(playground.registry.names()), elem_id="lessons", **PLAIN)
    _connect_words(playground, page, prompt, note, surprise)
    _connect_run(playground, store, prompt, seed, best_of, controls, generate, stop, stage)
    # Here and not in the tab of the history, which is not there before it was opened.
    starters = [group.pipeline.title for group in controls if group.init_image is not None]
    offered = starters and playground.history is not None
    hand_off = gr.Textbox(visible="hidden", elem_id="hand-off",
                          label=strings.START_FROM.format(starters[0]) if offered else "")
    inputs = GenerateInputs(prompt, seed, controls, filled_note, dropped, hand_off)
    connect_recall(inputs)
    return inputs


def _build_prompt() -> tuple[gr.Textbox, gr.HTML]:
    prompt = gr.Textbox(value=strings.FIRST_PROMPT, label=strings.PROMPT_LABEL, lines=2,
                        max_lines=6, placeholder=strings.PROMPT_PLACEHOLDER, elem_id="prompt",
                        max_length=MAX_PROMPT_CHARS)
    return prompt, gr.HTML("", elem_id="prompt-note", **PLAIN)


def _build_generators(playground: Playground) -> list[PipelineControls]:
    with gr.Column(elem_id="generators"):
        gr.HTML(f"<span>{strings.GENERATORS_LABEL}</span><span>{strings.COUNT_LABEL}</span>",
                elem_classes="heads", **PLAIN)
        return [build_choice(pipeline, chosen=True) for pipeline in playground.registry]


def _build_settings(controls: list[PipelineControls]) -> tuple[gr.Textbox, gr.Number]:
    with gr.Accordion(strings.SETTINGS_LABEL, open=False, elem_id="settings"):
        # Text, because Gradio shows an empty number as 0.
        seed = gr.Textbox(label=strings.SEED_LABEL, info=strings.SEED_INFO, max_lines=1,
                          placeholder=strings.SEED_PLACEHOLDER, elem_id="seed")
        best_of = gr.Number(0, label=strings.BEST_OF, info=strings.BEST_OF_INFO, precision=0,
                            minimum=0, maximum=MAX_DRAWN, elem_id="best-of")
        for group in controls:
            gr.HTML(f'<h3 class="group-title">{group.pipeline.title}</h3>', **PLAIN)
            build_options(group)
    return seed, best_of


def _connect_words(playground: Playground, page: gr.Blocks, prompt: gr.Textbox, note: gr.HTML,
                   surprise: gr.Button) -> None:
    """Unknown words are marked while a person types; Surprise me draws a caption."""
    def mark_words(text: str) -> str:
        vocabulary = playground.vocabulary
        if vocabulary is None or not text:
            return ""
        return render_vocabulary_note(vocabulary.unknown_words(text), vocabulary.truncated(text))

    prompt.change(mark_words, prompt, note, **LIVE)
    page.load(mark_words, prompt, note, **LIVE)
    if playground.surprise is not None:
        surprise.click(playground.surprise, None, prompt, **LIVE)


def _connect_run(playground: Playground, store: PictureStore, prompt: gr.Textbox,
                 seed: gr.Textbox, best_of: gr.Number, controls: list[PipelineControls],
                 generate: gr.Button, stop: gr.Button, stage: gr.HTML) -> None:
    def draw(values: Mapping[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        run = playground.runs.start(request.session_hash or "", visitor_of(request))
        busy = (gr.update(interactive=False), gr.update(interactive=True))
        try:
            choices = [fields for group in controls if (fields := group.read(values))]
            requests = prepare(playground, values[prompt] or "",
                               values[seed] or None, choices)
            for view in stream_run(playground, store, requests, run, values[best_of] or 0):
                yield (render_run(view), *busy)
                busy = (gr.skip(), gr.skip())
        except EaselError as error:
            yield render_run(RunView(alert=str(error))), gr.skip(), gr.skip()
        except Exception:
            logger.exception("the page failed before a run")
            yield render_run(RunView(alert=strings.UNEXPECTED)), gr.skip(), gr.skip()
        finally:
            playground.runs.end(run)
        yield gr.skip(), gr.update(interactive=True), gr.update(interactive=False)

    inputs = {prompt, seed, best_of} | {c for group in controls for c in group.components()}
    # Waiting is the backend's: it says how many are ahead, and when the queue is full.
    gr.on([generate.click, prompt.submit], draw, inputs, [stage, generate, stop],
          show_progress="hidden", concurrency_limit=None, trigger_mode="once",
          api_visibility="private")
    stop.click(stop_session_of(playground), None, None, **LIVE)


def stop_session_of(playground: Playground) -> Any:
    """An event handler that stops what the visitor's session runs."""
    @one_sentence
    def stop_session(request: gr.Request) -> None:
        playground.runs.stop(request.session_hash or "")

    return stop_session
