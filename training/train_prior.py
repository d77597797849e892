"""Train the embedded unCLIP's prior: ``python -m training.train_prior``.

Flow matching from noise to the CLIP's image embedding, told the caption by the same CLIP's
text embedding and token states. Train it again after the CLIP: the run starts afresh then.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
section 2.2.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from pipelines.flow_matching import flow_end
from pipelines.models.clip import ClipModel
from pipelines.models.unclip import UnclipPrior, build_prior
from pipelines.unclip.steps import text_condition
from pipelines.world.scenes import Scene
from training.data import World, prefetched
from training.export import WEIGHTS_DIR, export_diffusers, load_exported
from training.loop import Loop, due, fast_autocast, parse_arguments
from training.unclip_data import flow_loss, flow_times, load_clip

Plan = tuple[int, list[Scene], list[str]]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class Batches:
    """Makes training batches for the prior, of scenes that are drawn once.

    Args:
        config: with ``split``, ``seed``, ``kinds``, ``coloured``, ``caption_dropout``, and
            ``time_mean`` and ``time_std``.
        world: draws the scenes.
        clip: makes the embeddings.
    """

    def __init__(self, config: dict[str, Any], world: World, clip: ClipModel) -> None:
        self.config, self.world, self.clip = config, world, clip
        self.sampler = world.sampler(config["split"], kinds=config["kinds"],
                                     coloured=config["coloured"])

    @torch.no_grad()
    def embeds(self, scenes: Sequence[Scene]) -> Tensor:
        """Unit-length image embeddings (N, D) of scenes."""
        pixels = self.world.render(scenes, self.clip.image_size).to(self.clip.device)
        with fast_autocast(self.clip.device):
            return self.clip.encode_image(pixels).float()

    def plan(self, step: int) -> Plan:
        """Of batch ``step`` a seed, the scenes, and their captions, some of them left out."""
        size, rng = self.config["batch_size"], random.Random(f"{self.config['seed']}/{step}")
        seed = rng.getrandbits(62)
        scenes = [self.sampler.sample(step * size + k) for k in range(size)]
        captions = [self.world.caption(scene, rng.getrandbits(30)) for scene in scenes]
        return seed, scenes, ["" if rng.random() < self.config["caption_dropout"] else caption
                              for caption in captions]

    @torch.no_grad()
    def draw(self, plan: Plan) -> Batch:
        """The batch of a plan.

        Returns:
            Unit-length image embeddings (B, D), noise (B, D), times (B,) and what
            ``text_condition`` returns of the captions.
        """
        seed, scenes, texts = plan
        generator = torch.Generator().manual_seed(seed)
        embeds = self.embeds(scenes)
        with fast_autocast(self.clip.device):
            condition = text_condition(self.clip, texts, self.clip.encode_text(texts))
        noise = torch.randn(embeds.shape, generator=generator)
        return (embeds, noise, flow_times(len(scenes), self.config, generator), *condition)

    def batch(self, step: int) -> Batch:
        """Batch ``step``."""
        return self.draw(self.plan(step))


@torch.no_grad()
def sample(model: UnclipPrior, condition: tuple[Tensor, Tensor, Tensor], seed: int = 0,
           steps: int = 8) -> Tensor:
    """Unit-length image embeddings (B, D), without guidance."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(condition[0]), model.image_dim, generator=generator)
    return model.unit(flow_end(lambda x, t: model.predict(x, t, condition),
                               noise.to(condition[0].device), steps))


@torch.no_grad()
def set_statistics(model: UnclipPrior, embeds: Tensor) -> None:
    """Let the prior know where the CLIP's image embeddings (N, D) lie."""
    cells = embeds.view(-1, model.numbers)
    model.transformer.clip_mean.copy_(cells.mean(0)[None])
    # One scale for all of them: what hardly varies over scenes is not worth as much as the rest.
    model.transformer.clip_std.fill_(float(cells.var(0).mean().sqrt()))


def initialised(config: dict[str, Any]) -> UnclipPrior:
    """An untrained prior that is ready for training."""
    model = build_prior(config)
    # Attention written out: its backward pass is much cheaper on a CPU than the fused kernel's.
    model.transformer.set_attn_processor(AttnProcessor())
    for name, p in model.transformer.named_parameters():
        if name in ("clip_mean", "clip_std"):
            p.requires_grad_(False)
        elif name == "positional_embedding":
            torch.nn.init.normal_(p, std=0.02)
    return model


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns the held-back cosine."""
    torch.manual_seed(config["seed"])
    clip, fingerprint = load_clip()
    config = {**config, "name": f"{config['name']}-{fingerprint[:12]}"}
    model = initialised(config["transformer"])
    if config.get("from_shipped"):
        folder = WEIGHTS_DIR / "unclip-prior" / "prior"
        load_exported(model.transformer, folder / "diffusion_pytorch_model.safetensors")
    loop = Loop(config, model)
    world, clip = World(loop.device), clip.to(loop.device)
    batches = Batches(config, world, clip)
    if not loop.extra and not config.get("from_shipped"):
        known = batches.embeds([batches.sampler.sample(k) for k in range(1024)])
        for each in (loop.model, loop.ema):
            set_statistics(each, known)
    loop.extra["clip"] = fingerprint
    if config.get("compile"):
        for block in loop.model.transformer.transformer_blocks:
            block.compile(dynamic=False)
    upcoming = prefetched(batches.plan, batches.draw, loop.step, config.get("workers", 0))
    for step in loop.steps():
        embeds, noise, t, *condition = (x.to(loop.device) for x in next(upcoming))
        clean, at = loop.model.standardise(embeds), t[:, None]
        with loop.accelerator.autocast():
            predicted = loop.model((1 - at) * clean + at * noise, t, *condition)
        loss = flow_loss(predicted, clean, t, config["least_time"])
        loop.backward(loss)
        loop.scenes += len(clean)
        blind = t > 0.8
        loop.log(loss=loss, blind=(predicted.float() - clean)[blind].detach().pow(2).mean())
        if due(step, config.get("export_every", 0)):
            write(loop, fingerprint, *evaluate(loop, world, clip))
    return write(loop, fingerprint, *evaluate(loop, world, clip))


@torch.no_grad()
def evaluate(loop: Loop[UnclipPrior], world: World, clip: ClipModel) -> tuple[float, float]:
    """Mean cosine with the true image embedding on unseen scenes: of samples, of the caption's own.

    Both after the mean of all image embeddings is taken off, as all of them share it.
    """
    config = {**loop.config, "split": "eval-unclip", "caption_dropout": 0.0}
    embeds, _, _, *condition = (x.to(loop.device) for x in Batches(config, world, clip).batch(0))
    model = loop.ema.eval()
    drawn = sample(model, (condition[0], condition[1], condition[2]))
    drawn, own, true = (model.standardise(x) for x in (drawn, condition[0], embeds))
    return (float(F.cosine_similarity(drawn, true).mean()),
            float(F.cosine_similarity(own, true).mean()))


def write(loop: Loop[UnclipPrior], fingerprint: str, cosine: float, caption: float) -> float:
    """Export the averaged weights with their card."""
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    card = f"""# Embedded unCLIP prior

A transformer from the CLIP's text features to its image embedding, cell by cell, {millions:.1f} M
parameters, trained by flow matching on scenes of `pipelines/world` only.

- Command: `python -m training.train_prior`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Embeddings: of the CLIP with SHA-256 `{fingerprint}`
- Cosine with the true image embedding, the mean taken off: {cosine:.3f}; of the caption's own
  embedding: {caption:.3f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export_diffusers({"prior": loop.ema.transformer}, "unclip-prior", card,
                     {"clip_sha256": fingerprint}, int8=loop.config.get("int8", False))
    print(f"prior: cosine {cosine:.4f} (caption's own {caption:.4f}) after {loop.scenes} scenes; "
          "weights exported", flush=True)
    return cosine


def main() -> None:
    """Command line."""
    train(parse_arguments("prior.toml"))


if __name__ == "__main__":
    main()
