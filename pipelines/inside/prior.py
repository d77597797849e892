"""unCLIP's prior and guidance, looked into: where embeddings lie, and what each prediction says.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
sections 2 and 5.1; guidance: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), section
3.2; the plane: Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space" (1901).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.request import CheckedRequest
from pipelines.flow_matching import flow_steps
from pipelines.inside import landmarks
from pipelines.inside.question import checked_prompt
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip_features import image_features, text_features
from pipelines.models.pixels import to_uint8
from pipelines.registry import Registry
from pipelines.rerank import similarities
from pipelines.sampling import guide
from pipelines.unclip.pipeline import CLIP, DECODER, PRIOR, VQGAN, UnclipOptions, UnclipPipeline
from pipelines.unclip.steps import Noise, decode, sample_decoder, sample_prior

if TYPE_CHECKING:  # what a run is handed; diffusers takes seconds to import
    from pipelines.models.unclip import UnclipDecoder

Point = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """An embedding in the plane.

    Attributes:
        text: what it is of.
        at: its two coordinates.
        cosine: with the caption's own embedding.
    """

    text: str
    at: Point
    cosine: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """One step of the decoder.

    Attributes:
        step: from 1.
        told: (S, S, 3) uint8 RGB, the picture that it foresees, told caption and embedding.
        untold: the same, told neither.
        guided: what guidance makes of both, and the step goes towards.
        difference: (S, S) float32 in [0, 1], the mean difference of the first two.
    """

    step: int
    told: np.ndarray
    untold: np.ndarray
    guided: np.ndarray
    difference: np.ndarray


@dataclass(frozen=True, eq=False)
class Way:
    """From an embedding to a picture.

    Attributes:
        picture: (S, S, 3) uint8 RGB.
        embedding: where the decoder was told to go.
        seen: where the picture lies, looked at by the same CLIP.
        ranker_cosine: of the picture with the caption, by the ranker, another CLIP.
    """

    picture: np.ndarray
    embedding: Placed
    seen: Placed
    ranker_cosine: float


@dataclass(frozen=True, eq=False)
class PriorSeen:
    """A prompt on its way through unCLIP.

    Attributes:
        caption: the text's own embedding.
        others: captions of the world.
        rendered: pictures of scenes of the world.
        drawn: pictures by generators. The plane is laid through all three.
        own_cosines: the mean of rendered and that of drawn pictures, each with its own caption.
        chosen: the picture that was asked with, if one was.
        steps: where the prior was after each of its steps.
        with_prior: from the prior's embedding.
        without_prior: from the text's own, by the same noise.
        predictions: of every step of the decoder, from the prior's embedding.
        explained: share of their variance that lies in the plane, 0 to 1.
    """

    caption: Placed
    others: tuple[Placed, ...]
    rendered: tuple[Placed, ...]
    drawn: tuple[Placed, ...]
    own_cosines: tuple[float, float]
    chosen: Placed | None
    steps: tuple[Placed, ...]
    with_prior: Way
    without_prior: Way
    predictions: tuple[Prediction, ...]
    explained: float


@dataclass(frozen=True, eq=False)
class WatchPrior:
    """The question what the prior and guidance do for a prompt.

    Attributes:
        prompt: what to draw.
        seed: of the noise, 0 to 2**32 - 1.
        guidance_scale: of the decoder, 1 to 20.
        image: (H, W, 3) uint8 RGB of any size, a picture whose place is asked for as well.
    """

    prompt: str
    seed: int = 0
    guidance_scale: float = 3.0
    image: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check everything, so that a wrong question is refused where it is asked.

        Raises:
            InvalidRequest: no run can be asked for so.
        """
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))
        if self.request.options.decoder_guidance_scale == 1:
            raise InvalidRequest("At a guidance of 1 there is one prediction and nothing to "
                                 "compare: choose more.", field="decoder_guidance_scale")

    @property
    def request(self) -> CheckedRequest[UnclipOptions]:
        """As unCLIP would be asked."""
        registry = Registry()
        registry.register(UnclipPipeline())
        return registry.check({
            "pipeline": UnclipPipeline.name, "prompt": self.prompt, "seed": self.seed,
            "num_images": 1, "options": {"decoder_guidance_scale": self.guidance_scale}})

    @property
    def models(self) -> tuple[str, ...]:
        """Prior, decoder, CLIP, VQGAN and the ranker."""
        return (PRIOR, DECODER, CLIP, VQGAN, RANKER)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False,
               ) -> PriorSeen:
        """See ``Question.answer`` and ``PriorSeen``."""
        options = self.request.options

        def poll() -> None:
            if cancelled():
                raise Cancelled

        with (models.lease(PRIOR, cancelled=cancelled) as prior,
              models.lease(DECODER, cancelled=cancelled) as decoder,
              models.lease(CLIP, cancelled=cancelled) as clip,
              models.lease(VQGAN, cancelled=cancelled) as vqgan):
            around = embedded_landmarks(clip, poll)
            own = text_features(clip, [self.prompt])
            plane = Plane(torch.cat([rows for _, rows in around]), own)
            others, rendered, drawn = (
                tuple(plane.place(text, row[None]) for text, row in zip(texts, rows, strict=True))
                for texts, rows in around)
            paired = [float((text_features(clip, texts) * rows).sum(1).mean())
                      for texts, rows in around[1:]]
            noise = Noise.of([self.seed], prior.image_dim, decoder.latent_shape, clip.device)
            steps = []
            for standardised in sample_prior(prior, clip, self.prompt, noise.prior,
                                             options.prior_steps, options.prior_guidance_scale):
                poll()
                steps.append(prior.unit(standardised))

            found = tuple(predictions(decoder, vqgan, self.prompt, steps[-1], noise.decoder,
                                      options.decoder_steps, self.guidance_scale, poll))
            sampling = sample_decoder(decoder, [self.prompt],
                                      decoder.caption_encoder.standardise(own), noise.decoder,
                                      options.decoder_steps, self.guidance_scale)
            latents = noise.decoder
            for _ in range(options.decoder_steps):
                poll()
                latents = next(sampling)
            plain = to_uint8(decode(vqgan, latents))[0]
            chosen = None if self.image is None else plane.place(
                "", image_features(clip, [self.image]))
            pictures = [found[-1].guided, plain]
            seen = [plane.place(self.prompt, image_features(clip, [each])) for each in pictures]
        with models.lease(RANKER, cancelled=cancelled) as ranker:
            judged = similarities(pictures, [self.prompt], ranker)[:, 0].tolist()
        ways = [Way(picture, plane.place(self.prompt, embedding), place, cosine)
                for picture, embedding, place, cosine in zip(
                    pictures, (steps[-1], own), seen, judged, strict=True)]
        return PriorSeen(
            plane.place(self.prompt, own), others, rendered, drawn, (paired[0], paired[1]), chosen,
            tuple(plane.place(str(number), each) for number, each in enumerate(steps, 1)),
            ways[0], ways[1], found, plane.explained)


def embedded_landmarks(clip: Any, poll: Callable[[], None]) -> list[tuple[list[str], Tensor]]:
    """What is always in the plane, as a CLIP sees it.

    Args:
        clip: whose space it is.
        poll: called between the kinds; may raise.

    Returns:
        Captions, rendered and drawn pictures: the texts of each, and (N, D) float32.
    """
    texts = landmarks.captions()
    found = [(list(texts), text_features(clip, texts))]
    for kind in (landmarks.rendered(), landmarks.drawn()):
        poll()
        found.append(([each.text for each in kind],
                      image_features(clip, [each.image for each in kind])))
    poll()
    return found


class Plane:
    """The two directions in which embeddings differ most, of many captions and pictures.

    Args:
        around: (N, D) unit-length, at least three.
        own: (1, D), which cosines are with.

    Attributes:
        explained: share of the variance of ``around`` that lies in it, 0 to 1.
    """

    def __init__(self, around: Tensor, own: Tensor) -> None:
        self.mean, self.own = around.mean(0, keepdim=True), own
        _, sizes, directions = torch.linalg.svd(around - self.mean, full_matrices=False)
        # Which way round a direction points is of no matter to the plane, and is always the same.
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        self.directions = (directions * largest.sign())[:2]
        self.explained = float(sizes[:2].square().sum() / sizes.square().sum())

    def place(self, text: str, embedding: Tensor) -> Placed:
        """An embedding (1, D) of unit length in the plane."""
        x, y = ((embedding - self.mean) @ self.directions.T)[0].tolist()
        return Placed(text, (x, y), float((embedding * self.own).sum()))


@torch.no_grad()
def predictions(decoder: UnclipDecoder, vqgan: Any, prompt: str, embedding: Tensor, noise: Tensor,
                steps: int, guidance_scale: float, poll: Callable[[], None],
                ) -> Iterator[Prediction]:
    """Both predictions of every step of the decoder, as pictures.

    Args:
        decoder: predicts.
        vqgan: draws latents.
        prompt: which the decoder is told.
        embedding: (1, D) of unit length, which it is told as well.
        noise: (1, C, grid, grid).
        steps: how many.
        guidance_scale: above 1.
        poll: called before each step; may raise.
    """
    ids = load_vocabulary()([prompt, ""], context_length=decoder.text_length).to(noise.device)
    image = decoder.caption_encoder.standardise(embedding)
    dtype = decoder.unet.dtype
    condition = decoder.condition(ids, torch.cat([image, torch.zeros_like(image)]).to(dtype))
    both: list[Tensor] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        clean = decoder.predict(x.to(dtype).repeat(2, 1, 1, 1), t.repeat(2), condition).float()
        both[:] = clean[:1], clean[1:]
        return guide(clean[:1], clean[1:], guidance_scale).clamp(-1, 1)

    sampling = flow_steps(predict, noise, steps)
    for step in range(1, steps + 1):
        poll()
        _, guided = next(sampling)
        latents = torch.cat([both[0].clamp(-1, 1), both[1].clamp(-1, 1), guided])
        told, untold, drawn = to_uint8(decode(vqgan, latents))
        difference = np.abs(told.astype(np.float32) - untold).mean(-1)
        yield Prediction(step, told, untold, drawn,
                         difference / max(float(difference.max()), 1.0))
