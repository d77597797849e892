"""Train the embedded unCLIP's prior: ``python -m training.train_prior``.

Flow matching from noise to the CLIP's image embedding, told the caption by the same CLIP's
text embedding and token states. Train it again after the CLIP: the run starts afresh then.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
section 2.2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from pipelines.flow import flow_end
from pipelines.models.clip import ClipModel
from pipelines.models.unclip import UnclipPrior, build_prior
from pipelines.unclip_drawing import text_condition
from training.data import World, prefetched
from training.export import export_diffusers
from training.loop import Loop, parse_arguments
from training.train_dalle import load_vqgan
from training.unclip_data import EmbeddedScenes, flow_loss, flow_times, load_clip

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class Batches:
    """Makes training batches for the prior."""

    def __init__(self, config: dict[str, Any], scenes: EmbeddedScenes, clip: ClipModel) -> None:
        self.config, self.scenes, self.clip = config, scenes, clip

    @torch.no_grad()
    def batch(self, step: int) -> Batch:
        """Batch ``step``.

        Returns:
            Unit-length image embeddings (B, D), noise (B, D), times (B,) and what
            ``text_condition`` returns of the captions.
        """
        rows, rng = self.scenes.chosen(step)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        texts = ["" if rng.random() < self.config["caption_dropout"] else caption
                 for caption in self.scenes.captions(rows, rng)]
        with torch.autocast(self.clip.device.type, torch.bfloat16):
            condition = text_condition(self.clip, texts)
        embeds = self.scenes.embeds(rows)
        noise = torch.randn(embeds.shape, generator=generator)
        return (embeds, noise, flow_times(len(rows), self.config, generator), *condition)


@torch.no_grad()
def sample(model: UnclipPrior, condition: tuple[Tensor, Tensor, Tensor], seed: int = 0,
           steps: int = 8) -> Tensor:
    """Unit-length image embeddings (B, D), without guidance."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(condition[0]), model.image_dim, generator=generator)
    return model.unit(flow_end(lambda x, t: model.predict(x, t, condition),
                               noise.to(condition[0].device), steps))


@torch.no_grad()
def set_statistics(model: UnclipPrior, scenes: EmbeddedScenes) -> None:
    """Let the prior know where the CLIP's image embeddings lie."""
    mean, std = scenes.statistics()
    model.transformer.clip_mean.copy_(mean[None])
    # One scale for all of them: what hardly varies over scenes is not worth as much as the rest.
    model.transformer.clip_std.copy_(std.square().mean().sqrt().expand_as(std)[None])


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns the held-back cosine."""
    torch.manual_seed(config["seed"])
    clip, fingerprint = load_clip()
    config = {**config, "name": f"{config['name']}-{fingerprint[:12]}"}
    model = build_prior(config["transformer"])
    model.transformer.set_attn_processor(AttnProcessor())
    for name, p in model.transformer.named_parameters():
        if name in ("clip_mean", "clip_std"):
            p.requires_grad_(False)
        elif name.endswith("_embedding"):
            torch.nn.init.normal_(p, std=0.02)
    loop = Loop(config, model)
    world, vqgan = World(), load_vqgan().to(loop.device)
    clip = clip.to(loop.device)
    scenes = EmbeddedScenes(config, world, vqgan, clip, fingerprint)
    if not loop.extra:
        while len(scenes) < 8 * config["chunk"]:
            scenes.grow()
        for each in (loop.model, loop.ema):
            set_statistics(each, scenes)
        loop.extra["clip"] = fingerprint
    batches = prefetched(Batches(config, scenes, clip).batch, loop.step)
    for step in loop.steps():
        embeds, noise, t, *told = (x.to(loop.device) for x in next(batches))
        clean, at = loop.model.standardise(embeds), t[:, None]
        with loop.accelerator.autocast():
            predicted = loop.model((1 - at) * clean + at * noise, t, *told)
        loss = flow_loss(predicted, clean, t, config["least_time"])
        loop.backward(loss)
        loop.scenes += len(clean)
        loop.log(loss=loss)
        if step % 1000 == 999:
            write(loop, fingerprint, *evaluate(loop, world, vqgan, clip, fingerprint))
    return write(loop, fingerprint, *evaluate(loop, world, vqgan, clip, fingerprint))


@torch.no_grad()
def evaluate(loop: Loop[UnclipPrior], world: World, vqgan: Any, clip: ClipModel,
             fingerprint: str) -> tuple[float, float]:
    """Mean cosine with the true image embedding on unseen scenes: of samples, of the caption's own.

    Both after the mean of all image embeddings is taken off, as all of them share it.
    """
    config = {**loop.config, "split": "eval-unclip", "caption_dropout": 0.0}
    scenes = EmbeddedScenes(config, world, vqgan, clip, fingerprint)
    embeds, _, _, *told = (x.to(loop.device) for x in Batches(config, scenes, clip).batch(0))
    mean = loop.ema.transformer.clip_mean
    drawn = sample(loop.ema.eval(), (told[0], told[1], told[2]))
    return (float(F.cosine_similarity(drawn - mean, embeds - mean).mean()),
            float(F.cosine_similarity(told[0] - mean, embeds - mean).mean()))


def write(loop: Loop[UnclipPrior], fingerprint: str, cosine: float, caption: float) -> float:
    """Export the averaged weights with their card."""
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    card = f"""# Embedded unCLIP prior

A transformer from the CLIP's text features to its image embedding, {millions:.1f} M
parameters, trained by flow matching on scenes of `training/world` only.

- Command: `python -m training.train_prior`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Embeddings: of the CLIP with SHA-256 `{fingerprint}`
- Cosine with the true image embedding, the mean taken off: {cosine:.3f}; of the caption's own
  embedding: {caption:.3f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export_diffusers({"prior": loop.ema.transformer}, "unclip-prior", card,
                     {"clip_sha256": fingerprint})
    print(f"prior: cosine {cosine:.4f} (caption's own {caption:.4f}) after {loop.scenes} scenes; "
          "weights exported", flush=True)
    return cosine


def main() -> None:
    """Command line."""
    train(parse_arguments("prior.toml"))


if __name__ == "__main__":
    main()
