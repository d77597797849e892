"""What a person chooses of each generator, and the request that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from easel.ui.parts.option_form import OptionForms
from easel.ui.parts.picture_inputs import PictureInputs, build_picture_inputs
from pipelines.core.request import MAX_IMAGES
from pipelines.core.sentences import Sentence
from pipelines.pipeline import Pipeline

# What a box for a prompt takes: more than a prompt may have, so that a paste that is too long is
# refused in a sentence, and not cut in silence.
MAX_TYPED_CHARS = 100_000


@dataclass
class PipelineControls:
    """The components of one pipeline, and the request fields that their values make.

    Attributes:
        pipeline: whose options they are.
        chosen: tick box on the first screen.
        num_images: how many pictures it draws.
        pictures: where those are dropped that it takes.
        varied: hidden; the kept picture that Vary was pressed for, and the seed that it set.
        places: where the components are, hidden until the pipeline's models are here; none where
            they were from the start.
    """

    pipeline: Pipeline
    chosen: gr.Checkbox
    num_images: gr.Number
    varied: gr.Textbox
    pictures: PictureInputs = field(default_factory=lambda: PictureInputs("", {}))
    places: list[gr.Column] = field(default_factory=list)

    def components(self) -> Iterable[gr.components.Component]:
        """Everything that ``read`` needs the value of."""
        yield from (self.chosen, self.num_images, self.varied)
        yield from self.pictures.files.values()

    def has_init(self, values: Mapping[Any, Any]) -> bool:
        """Whether a picture to start from is there."""
        file = self.pictures.init_image
        return file is not None and bool(values[file])

    def read(self, values: Mapping[Any, Any], options: Mapping[str, Any],
             ) -> dict[str, Any] | None:
        """Fields of a request, less prompt and seed; None where the box is not ticked.

        Args:
            values: of the components.
            options: of this generator.
        """
        if not values[self.chosen]:
            return None
        return {
            "pipeline": self.pipeline.name,
            "num_images": values[self.num_images],
            "options": dict(options),
            "varied": values[self.varied],
            **self.pictures.read(values),
        }


@dataclass
class GenerateInputs:
    """What a person fills in before Generate, for those who fill it in for them.

    Attributes:
        prompt: text box of the prompt.
        seed: text box of the seed; empty for a new one.
        controls: of every generator.
        note: where it is said what was filled in.
        dropped: takes a picture whose settings are to come back.
        hand_off: hidden; page.js writes there which kept picture a generator should start from.
        options: of all generators.
        handed: hidden; the prompt of the kept picture that a generator was told to start from.
    """

    prompt: gr.Textbox
    seed: gr.Textbox
    controls: list[PipelineControls]
    note: gr.HTML
    dropped: gr.File
    hand_off: gr.Textbox
    options: OptionForms
    handed: gr.Textbox

    def components(self) -> list[gr.components.Component]:
        """Prompt, seed and everything of the generators, in a fixed order."""
        return [self.prompt, self.seed, self.handed, self.options.html, self.options.text,
                *(c for group in self.controls for c in group.components())]

    def init_target(self) -> PipelineControls | None:
        """Who takes an init image, who draws variations of it first; None where nobody does."""
        takers = [group for group in self.controls if group.pictures.init_image is not None]
        return next((group for group in takers if group.pipeline.draws_variations),
                    takers[0] if takers else None)


def meant_options(pipeline: Pipeline, options: Mapping[str, Any], prompt: str, handed: str,
                  ) -> dict[str, Any]:
    """Options as they are meant where a kept picture was handed over to start from.

    Other words than the picture's own say what it should become; variations would not heed them.

    Args:
        pipeline: who draws.
        options: that were set.
        prompt: what is asked for.
        handed: the kept picture's own prompt; empty where none was handed over.
    """
    means_words = handed.strip() and prompt.strip() != handed.strip()
    if means_words and pipeline.draws_variations and "picture" in pipeline.Options.model_fields:
        return {"picture": "difference", **options}
    return dict(options)


def build_choice(pipeline: Pipeline, chosen: bool) -> PipelineControls:
    """The row of the first screen: tick box with one line, number of pictures."""
    with gr.Row(elem_classes="choice", equal_height=False):
        box = gr.Checkbox(value=chosen, label=pipeline.title, info=pipeline.summary,
                          container=False, scale=1, min_width=200,
                          elem_id=f"choose-{pipeline.name}")
        # Not shown, for screen readers: the column has its own head.
        count = gr.Number(value=pipeline.default_num_images,
                          label=Sentence("Pictures: {}", pipeline.title),
                          precision=0, minimum=1, maximum=MAX_IMAGES, container=False,
                          scale=0, min_width=64, elem_classes="count",
                          elem_id=f"count-{pipeline.name}")
        varied = gr.Textbox(visible="hidden")
    return PipelineControls(pipeline, box, count, varied)


def build_pictures(controls: PipelineControls) -> None:
    """Where the pictures are dropped that a generator takes."""
    controls.pictures = build_picture_inputs(controls.pipeline.title, controls.pipeline.accepts())
