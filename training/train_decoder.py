"""Train the embedded unCLIP's decoder: ``python -m training.train_decoder``.

Flow matching in the latents of the VQGAN, whose codes are evenly spaced in [-1, 1]. Each row is
told the caption, the CLIP's image embedding, both or nothing, so that the decoder draws from
either alone and can be guided; or the caption and its own embedding, which the prior's resembles
more than a true picture's. After the CLIP was trained again the same command goes on, with more
minutes, from the checkpoint: the caption's part stays, the embedding's is learned anew. With
``from_shipped`` a run begins at the weights that ship, whose CLIP had the same picture tower.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022),
section 2.1; guidance: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torchvision.utils import save_image

from pipelines.flow_matching import flow_end
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.unclip import UnclipDecoder, build_decoder
from pipelines.models.vqgan import VQGAN
from training.data import World, prefetched
from training.export import WEIGHTS_DIR, export_diffusers, load_exported
from training.loop import Loop, due, parse_arguments
from training.train_dalle import SAMPLE_PROMPTS, load_vqgan
from training.unclip_data import EmbeddedScenes, flow_loss, flow_times, load_clip

Plan = tuple[list[int], int, list[str], Sequence[str]]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Batches:
    """Makes training batches for the decoder."""

    def __init__(self, config: dict[str, Any], scenes: EmbeddedScenes, vqgan: VQGAN) -> None:
        self.config, self.scenes, self.vqgan = config, scenes, vqgan
        self.vocabulary = load_vocabulary()
        self.text_length = config["caption_encoder"]["text_length"]

    def plan(self, step: int) -> Plan:
        """Of batch ``step`` the scenes' numbers, a seed, captions and what each row is told."""
        rows, rng = self.scenes.chosen(step)
        seed, told = rng.getrandbits(62), self.config["told"]
        kinds = rng.choices(("both", "caption", "image", "text", "none"),
                            (told["both"], told["caption"], told["image"], told["text"],
                             1 - sum(told.values())), k=len(rows))
        return rows, seed, self.scenes.captions(rows, rng), kinds

    @torch.no_grad()
    def draw(self, plan: Plan) -> Batch:
        """The batch of a plan.

        Returns:
            Clean latents (B, C, grid, grid), noise of that shape, times (B,), text ids (B, T)
            and unit-length image embeddings (B, D), zeros where a row is not told.
        """
        rows, seed, captions, kinds = plan
        self.scenes.reach(max(rows))
        generator = torch.Generator().manual_seed(seed)
        texts = ["" if kind in ("image", "none") else caption
                 for caption, kind in zip(captions, kinds, strict=True)]
        # Always of one length: a compiled network is compiled for each anew.
        ids = self.vocabulary(texts, context_length=self.text_length)
        embeds = self.scenes.embeds(rows)
        embeds[[kind in ("caption", "none") for kind in kinds]] = 0
        own = [kind == "text" for kind in kinds]
        if any(own):
            embeds[own] = self.scenes.clip.encode_text(
                [caption for caption, kind in zip(captions, kinds, strict=True) if kind == "text"]
            ).cpu()
        clean = self.vqgan.lookup(self.scenes.store.codes(rows)).cpu()
        noise = torch.randn(clean.shape, generator=generator)
        return (clean, noise, flow_times(len(rows), self.config, generator),
                ids, embeds)

    def batch(self, step: int) -> Batch:
        """Batch ``step``."""
        return self.draw(self.plan(step))


def image_condition(model: UnclipDecoder, embeds: Tensor, noise: float = 0.0) -> Tensor:
    """Standardised embeddings of unit-length ones, noised by up to ``noise``; zeros stay zeros."""
    standardised = model.caption_encoder.standardise(embeds)
    if noise:
        spread = noise * torch.rand(len(embeds), 1, device=embeds.device)
        standardised = standardised + spread * torch.randn_like(standardised)
    return standardised * (embeds != 0).any(-1, keepdim=True)


@torch.no_grad()
def draw(model: UnclipDecoder, ids: Tensor, image: Tensor, seed: int = 0, steps: int = 8,
         guidance: float = 3.0) -> Tensor:
    """Sample latents (B, C, grid, grid) with guidance from ids (B, T) and standardised images."""
    generator = torch.Generator().manual_seed(seed)
    empty = torch.zeros_like(ids)
    empty[:, 0], empty[:, 1] = 1, 2
    condition = model.condition(torch.cat([ids, empty]),
                                torch.cat([image, torch.zeros_like(image)]))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        guided, unguided = model.predict(x.repeat(2, 1, 1, 1), t.repeat(2), condition).chunk(2)
        return (unguided + guidance * (guided - unguided)).clamp(-1, 1)

    noise = torch.randn(len(ids), *model.latent_shape, generator=generator).to(ids.device)
    return flow_end(predict, noise, steps)


def sample_grid(loop: Loop[UnclipDecoder], vqgan: VQGAN) -> None:
    """Draw the fixed prompts by their captions alone and save them as one picture."""
    model = loop.ema.eval()
    ids = load_vocabulary()(list(SAMPLE_PROMPTS), context_length=model.text_length)
    image = torch.zeros(len(ids), len(model.caption_encoder.image_mean))
    latents = draw(model, ids.to(loop.device), image.to(loop.device))
    with torch.no_grad():
        pictures = vqgan.decode_indices(vqgan.nearest(latents))
    save_image((pictures.clamp(-1, 1) + 1) / 2, loop.folder / "samples.png", nrow=4)


@torch.no_grad()
def set_statistics(model: UnclipDecoder, scenes: EmbeddedScenes) -> None:
    """Let the decoder know where the CLIP's image embeddings lie."""
    mean, std = scenes.statistics()
    model.caption_encoder.image_mean.copy_(mean)
    model.caption_encoder.image_std.copy_(std)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns the held-back loss."""
    torch.manual_seed(config["seed"])
    model = build_decoder(config)
    model.caption_encoder.initialise()
    if config.get("from_shipped"):
        for part in ("unet", "caption_encoder"):
            load_exported(getattr(model, part), WEIGHTS_DIR / "unclip-decoder" / part
                          / "diffusion_pytorch_model.safetensors")
    # Attention written out: its backward pass is much cheaper on a CPU than the fused kernel's.
    if not torch.cuda.is_available():
        model.unet.set_attn_processor(AttnProcessor())
    loop = Loop(config, model)
    world, vqgan = World(loop.device), load_vqgan().to(loop.device)
    clip, fingerprint = load_clip()
    scenes = EmbeddedScenes(config, world, vqgan, clip.to(loop.device), fingerprint)
    if loop.extra.get("clip") != fingerprint and not config.get("from_shipped"):
        while len(scenes) < min(1024, 8 * config["chunk"]):
            scenes.grow()
        for each in (loop.model, loop.ema):
            set_statistics(each, scenes)
    loop.extra["clip"] = fingerprint
    if config.get("compile"):
        # Block by block: the whole network takes minutes to compile.
        loop.model.unet.compile_repeated_blocks(dynamic=False)
    batches = Batches(config, scenes, vqgan)
    upcoming = prefetched(batches.plan, batches.draw, loop.step, config.get("workers", 0))
    for step in loop.steps():
        clean, noise, t, ids, embeds = (x.to(loop.device) for x in next(upcoming))
        image = image_condition(loop.model, embeds, config["embedding_noise"])
        at = t.view(-1, 1, 1, 1)
        with loop.accelerator.autocast():
            predicted = loop.model((1 - at) * clean + at * noise, t, ids, image)
        loss = flow_loss(predicted, clean, t, config["least_time"])
        loop.backward(loss)
        loop.scenes += len(clean)
        blind = t > 0.8
        loop.log(loss=loss, blind=(predicted.float() - clean)[blind].detach().pow(2).mean())
        if due(step, config.get("export_every", 0)):
            sample_grid(loop, vqgan)
            write(loop, fingerprint, evaluate(loop, world, vqgan, clip, fingerprint))
    sample_grid(loop, vqgan)
    return write(loop, fingerprint, evaluate(loop, world, vqgan, clip, fingerprint))


@torch.no_grad()
def evaluate(loop: Loop[UnclipDecoder], world: World, vqgan: VQGAN, clip: Any,
             fingerprint: str) -> float:
    """Mean squared error of x_0 from noise alone, on scenes that no training saw.

    The decoder is told the caption and its own embedding. The variance of the latents is about
    0.45.
    """
    config = {**loop.config, "split": "eval-unclip", "batch_size": 64,
              "told": {"both": 0.0, "caption": 0.0, "image": 0.0, "text": 1.0}}
    scenes = EmbeddedScenes(config, world, vqgan, clip, fingerprint)
    model, batches, total = loop.ema.eval(), Batches(config, scenes, vqgan), 0.0
    for step in range(2):
        clean, noise, t, ids, embeds = (x.to(loop.device) for x in batches.batch(step))
        with loop.accelerator.autocast():
            predicted = model(noise, torch.ones_like(t), ids, image_condition(model, embeds))
        total += float((predicted.float() - clean).pow(2).mean())
    return total / 2


def write(loop: Loop[UnclipDecoder], fingerprint: str, error: float) -> float:
    """Export the averaged weights with their card."""
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    card = f"""# Embedded unCLIP decoder

A U-Net over 2 × 2 latents of the embedded VQGAN and an encoder of captions, {millions:.1f} M
parameters, trained by flow matching on scenes of `pipelines/world` only. It predicts the clean
latents.

- Command: `python -m training.train_decoder`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Image embeddings: of the CLIP with SHA-256 `{fingerprint}`
- Mean squared error of the latents of scenes from noise, told the caption and its own
  embedding: {error:.4f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export_diffusers({"unet": loop.ema.unet, "caption_encoder": loop.ema.caption_encoder},
                     "unclip-decoder", card, {"clip_sha256": fingerprint},
                     int8=loop.config.get("int8", False))
    print(f"decoder: error {error:.4f} after {loop.scenes} scenes; weights exported", flush=True)
    return error


def main() -> None:
    """Command line."""
    train(parse_arguments("decoder.toml"))


if __name__ == "__main__":
    main()
