"""What a person chooses of each generator, and the request that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from easel.ui.parts.option_form import OptionForms
from easel.words import strings
from pipelines.core.errors import InvalidImage
from pipelines.core.images import check_name, load_image, resize
from pipelines.core.request import MAX_IMAGE_PROMPTS, MAX_IMAGES
from pipelines.core.sentences import Sentence
from pipelines.pipeline import Pipeline

# What a box for a prompt takes: more than a prompt may have, so that a paste that is too long is
# refused in a sentence, and not cut in silence.
MAX_TYPED_CHARS = 100_000
IMAGE_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]
# More than a CLIP looks at; 64 uploads as they come could fill the memory.
MAX_SIDE_PX = 512


@dataclass
class PipelineControls:
    """The components of one pipeline, and the request fields that their values make.

    Attributes:
        pipeline: whose options they are.
        chosen: tick box on the first screen.
        num_images: how many pictures it draws.
        init_image: uploaded file; None where the pipeline starts from no picture.
        image_prompts: uploaded files; None where the pipeline takes none.
        mask: uploaded file; None where the pipeline takes none.
        varied: hidden; the kept picture that Vary was pressed for, and the seed that it set.
        places: where the components are, hidden until the pipeline's models are here; none where
            they were from the start.
    """

    pipeline: Pipeline
    chosen: gr.Checkbox
    num_images: gr.Number
    varied: gr.Textbox
    init_image: gr.File | None = None
    image_prompts: gr.File | None = None
    mask: gr.File | None = None
    places: list[gr.Column] = field(default_factory=list)

    def components(self) -> Iterable[gr.components.Component]:
        """Everything that ``read`` needs the value of."""
        yield from (self.chosen, self.num_images, self.varied)
        yield from self.uploads()

    def uploads(self) -> Iterable[gr.File]:
        """Where pictures are dropped."""
        yield from (file for file in (self.init_image, self.image_prompts, self.mask)
                    if file is not None)

    def has_init(self, values: Mapping[Any, Any]) -> bool:
        """Whether a picture to start from is there."""
        return self.init_image is not None and bool(values[self.init_image])

    def read(self, values: Mapping[Any, Any], options: Mapping[str, Any],
             ) -> dict[str, Any] | None:
        """Fields of a request, less prompt and seed; None where the box is not ticked.

        Args:
            values: of the components.
            options: of this generator.
        """
        if not values[self.chosen]:
            return None
        uploaded = [None if file is None else values[file]
                    for file in (self.init_image, self.image_prompts, self.mask)]
        return {
            "pipeline": self.pipeline.name,
            "num_images": values[self.num_images],
            "options": dict(options),
            "varied": values[self.varied],
            **read_pictures(*uploaded),
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
        takers = [group for group in self.controls if group.init_image is not None]
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


def read_upload(path: str | Path | None) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        InvalidImage: it is no longer there, as on a page that was left open for days, or its name
            says something else than it is.
    """
    try:
        data = Path(path or "").read_bytes()
    except OSError:
        raise InvalidImage("The uploaded picture is no longer there: choose it again.",
                           field="init_image") from None
    check_name(str(path), data)
    return data


def read_pictures(init_image: Any, image_prompts: Any, mask: Any) -> dict[str, Any]:
    """The pictures of a request out of uploads: a path, several or None, a path.

    Of image prompts one more is read than there may be, which is refused.

    Raises:
        InvalidImage: one is no longer there.
    """
    prompts = list(image_prompts or ())[:MAX_IMAGE_PROMPTS + 1]
    return {"init_image": read_upload(init_image) if init_image else None,
            "image_prompts": [read_upload(path) for path in prompts],
            "mask": read_upload(mask) if mask else None}


def read_small(path: Path, side_px: int = MAX_SIDE_PX) -> np.ndarray:
    """A picture's file as (H, W, 3) uint8 RGB, its longer side at most ``side_px``."""
    image = load_image(read_upload(path))
    height_px, width_px = image.shape[:2]
    scale = min(1.0, side_px / max(height_px, width_px))
    return resize(image, max(1, round(width_px * scale)), max(1, round(height_px * scale)))


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


def build_init_image(controls: PipelineControls) -> None:
    """Where a picture to start from is dropped, a mask for it, and pictures that the result should
    be like, for a generator that takes them."""
    if controls.pipeline.accepts_init_image:
        controls.init_image = gr.File(
            label=Sentence(strings.START_PICTURE, controls.pipeline.title), file_count="single",
            file_types=IMAGE_SUFFIXES, type="filepath", height=64, elem_classes="upload")
    if controls.pipeline.accepts_mask:
        controls.mask = gr.File(
            label=Sentence(strings.MASK, controls.pipeline.title), file_count="single",
            file_types=IMAGE_SUFFIXES, type="filepath", height=64, elem_classes="upload")
    if controls.pipeline.accepts_image_prompts:
        controls.image_prompts = gr.File(
            label=Sentence(strings.IMAGE_PROMPTS, controls.pipeline.title, MAX_IMAGE_PROMPTS),
            file_count="multiple", file_types=IMAGE_SUFFIXES, type="filepath", height=64,
            elem_classes="upload")
