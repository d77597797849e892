"""DALL·E: one transformer writes plan and codes of a picture after the prompt, a VQGAN draws them.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; guidance without a
second network: Gafni et al., "Make-A-Scene" (2022), section 3.4.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.dalle_layers import check_parts, draw_written, plan_facts, steps_of
from pipelines.dalle_plan import draw_plans, read_places
from pipelines.model_options import model_field
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.dalle import ImageTransformer
from pipelines.models.dalle_state import KVCache
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.pixels import to_uint8
from pipelines.models.vqgan import VQGAN
from pipelines.negative_prompt import check_negative, negative_field
from pipelines.pipeline import Lesson, Preset, RunContext
from pipelines.sampling import RowNoise, choose, guide
from pipelines.world.plans import BACKGROUNDS, fixed_tokens
from pipelines.world.sprites import STYLES

TRANSFORMER = "embedded/dalle"
MODELS = (TRANSFORMER, RANKER)
ADVANCED: JsonDict = {"advanced": True}
ANY = "any"  # in place of a part of the plan: the seed decides
STYLE_LABELS = {
    ANY: "any, as the seed decides", "noto": "Noto emoji", "twemoji": "Twemoji",
    "fluent": "Fluent emoji, flat", "fluent3d": "Fluent emoji, 3D", "blob": "emoji blobs",
    "emojione": "EmojiOne", "fxemoji": "FxEmojis", "clipart": "clip art", "photo": "photograph"}
BACKGROUND_LABELS = {
    ANY: "any, as the seed decides", "pastel": "a pale colour", "strong": "a strong colour",
    "dark": "a dark colour", "gradient": "from colour to colour", "studio": "as in a studio",
    "stripes": "stripes", "dots": "dots", "checks": "checks", "paper": "paper",
    "lights": "blurred lights", "table": "a table"}


def _named(values: tuple[str, ...], names: Mapping[str, str]) -> JsonDict:
    return {"labels": [names.get(value, value) for value in values]}


class DalleOptions(Options):
    """What the plan says and how codes are drawn."""

    style: Literal[(ANY, *STYLES)] = Field(  # type: ignore[valid-type]
        default=ANY, title="Style", description="Whose art the things look like.",
        json_schema_extra=_named((ANY, *STYLES), STYLE_LABELS))
    background: Literal[(ANY, *BACKGROUNDS)] = Field(  # type: ignore[valid-type]
        default=ANY, title="Background", description="What stands behind the things.",
        json_schema_extra=_named((ANY, *BACKGROUNDS), BACKGROUND_LABELS))
    places: str = Field(
        default="", max_length=200, title="Places", json_schema_extra=ADVANCED,
        description="Of the first things that the prompt names: column, row and side of each in "
        "sixteenths of the picture, as in 1 4 7; 9 4 6 mirrored. The seed decides on the others.")
    negative_prompt: str = negative_field()
    guidance_scale: float = Field(
        default=1.4, ge=1, le=20, title="Guidance",
        description="How closely to follow the prompt; 1 is faster and freer.")
    temperature: float = Field(
        default=0.3, ge=0.1, le=2, title="Temperature",
        description="Lower is safer and more alike, higher is bolder and more varied.")
    top_k: int = Field(
        default=64, ge=0, le=1024, title="Top k", json_schema_extra=ADVANCED,
        description="Draw each token from this many of the likeliest; 0 for all.")
    top_p: float = Field(
        default=1.0, ge=0.01, le=1, title="Top p", json_schema_extra=ADVANCED,
        description="Draw each token from the likeliest that have this probability together.")
    preview_every: int = Field(
        default=8, ge=1, le=256, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps between previews.")
    model: str = model_field(
        TRANSFORMER, "dalle", "Transformer", "The network that writes the codes.", advanced=True)
    ranker: str = model_field(
        RANKER, "clip", "Ranker", "The CLIP that puts finished pictures in order.", advanced=True)


@dataclass
class Writing:
    """Pictures while they are written.

    Attributes:
        noise: random numbers of each picture.
        cache: keys and values of ``rows`` rows.
        rows: pictures, twice that with guidance: rows without a caption follow the others.
        hidden: (rows, dim), what the next block is drawn from.
        blocks: (N, patch² · digits) each, in the order of writing.
        plans: (N, plan_length) int64.
    """

    noise: RowNoise
    cache: KVCache
    rows: int
    hidden: Tensor
    blocks: list[Tensor]
    plans: Tensor


@torch.no_grad()
def read_texts(model: ImageTransformer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids (N, T) int64 of texts, and the states (N, T, sentence_dim) that the model's
    sentence encoder has of them."""
    return cast(SentenceEncoder, model.text).read(texts, model.config.text_length)


@torch.no_grad()
def begin(model: ImageTransformer, text_ids: Tensor, states: Tensor, seeds: Sequence[int],
          guided: bool, fixed: Mapping[int, Collection[int]] = MappingProxyType({})) -> Writing:
    """Read the prompt and draw the plans.

    Args:
        model: the transformer.
        text_ids: (2, T) int64: the prompt's, and those of the negative or of an empty one.
        states: (2, T, sentence_dim), what the sentence encoder made of both.
        seeds: one a picture.
        guided: also keep rows of the second text.
        fixed: which tokens of the plan may stand at a position; see ``draw_plans``.
    """
    weight, rows = model.start, (2 if guided else 1) * len(seeds)
    ids = text_ids.to(weight.device).repeat_interleave(len(seeds), dim=0)[:rows]
    states = states.to(weight).repeat_interleave(len(seeds), dim=0)[:rows]
    cache, noise = model.new_cache(rows, weight.device, weight.dtype), RowNoise(seeds)
    hidden = model.prefill(ids, cache, states)
    plans, hidden = draw_plans(model, hidden, cache, noise, fixed=fixed)
    return Writing(noise, cache, rows, hidden, [], plans)


def planned(options: DalleOptions) -> dict[int, tuple[int, ...]]:
    """The tokens of a plan that options leave, by position.

    Raises:
        InvalidRequest: the places are none.
    """
    return fixed_tokens(None if options.style == ANY else options.style,
                        None if options.background == ANY else options.background,
                        read_places(options.places))


@torch.no_grad()
def write_block(model: ImageTransformer, writing: Writing, options: DalleOptions,
                given: Tensor | None = None) -> None:
    """Read the block before, if there is one, and draw the next one of every picture.

    Args:
        model: the transformer.
        writing: from ``begin``; the block is added to it.
        options: how tokens are drawn.
        given: (patch² · digits,) int64, tokens that stand there in every picture; one below 0 is
            drawn. Random numbers are taken for all of them.
    """
    count, rows = len(writing.noise), writing.rows
    noise = iter(writing.noise.draw(model.block_codes, model.config.codebook_size).unbind(1))
    stands = iter([-1] * model.block_codes if given is None else given.tolist())

    def draw(logits: Tensor) -> Tensor:
        logits = logits.float()
        if rows > count:
            logits = guide(logits[:count], logits[count:], options.guidance_scale)
        tokens = choose(logits, next(noise), options.temperature, options.top_k, options.top_p)
        if (token := next(stands)) >= 0:
            tokens = torch.full_like(tokens, token)
        return tokens.repeat(rows // count)

    if writing.blocks:
        previous = writing.blocks[-1].repeat(rows // count, 1)
        writing.hidden = model.step(previous, writing.cache)
    if given is not None and bool((given >= 0).all()):
        writing.blocks.append(given.expand(count, -1))
        return
    writing.blocks.append(model.sample_block(writing.hidden, draw)[:count])


class DallePipeline(CandidatePipeline):
    """Writes pictures code by code, all candidates side by side."""

    name, title = "dalle", "DALL·E"
    summary = "A transformer reads the prompt and writes the picture, code by code."
    lesson = Lesson(
        "How DALL·E draws",
        "A transformer reads the prompt and goes on with it, in one stream. First it writes a plan"
        ": a style, a background, and where each thing stands. Then it writes codes, of the "
        "background and of each thing by itself, which is drafted in its own colours if it is to "
        "have others: a grid of 8 × 8, each one of the 15,625 that a VQGAN has for a patch of a "
        "layer, four at a time, each as two numbers drawn at random in proportion to how likely "
        "they are after all before them. The VQGAN’s decoder turns the "
        "codes into layers, which are put together as the plan says. Guidance compares what the "
        "model expects with the prompt and without it, and follows the difference.",
        "Ramesh et al., 2021, “Zero-Shot Text-to-Image Generation”")
    Options = DalleOptions
    models = MODELS
    sides_px = MappingProxyType({256: {}})
    presets = MappingProxyType({
        "draft": Preset({"guidance_scale": 1.0}), "normal": Preset(),
        "best": Preset(best_of=16), "bold": Preset({"temperature": 1.0})})

    def check_options(self, options: DalleOptions) -> None:
        """Refuse places that are none, and a negative prompt that would have no effect."""
        read_places(options.places)
        check_negative(options.negative_prompt, options.guidance_scale)

    def draw(self, request: CheckedRequest[DalleOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``; what is not written yet when it ends early is grey."""
        model, options = models[0], request.options
        check_parts(model, options.model)
        ids, states = read_texts(model, [request.prompt, options.negative_prompt])
        writing = begin(model, ids, states, seeds, options.guidance_scale != 1, planned(options))
        total = steps_of(model, writing.plans)
        for step in range(1, total + 1):
            write_block(model, writing, options)
            if context.cancelled():
                break
            if (step - 1) % options.preview_every == 0:
                yield Preview(step, to_uint8(self._drawn(model, writing)), seeds)
            yield Progress(step, total, context.elapsed_s())
        facts = tuple({"plan": plan} for plan in plan_facts(writing.plans))
        return Drawn(to_uint8(self._drawn(model, writing)), seeds, len(writing.blocks), total,
                     picture_facts=facts)

    @staticmethod
    def _drawn(model: ImageTransformer, writing: Writing) -> Tensor:
        return draw_written(model, cast(VQGAN, model.vqgan), writing.plans, writing.blocks)
