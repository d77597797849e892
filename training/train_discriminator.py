"""Train a patch discriminator of the embedded VQGAN: ``python -m training.train_discriminator``.

It learns alone, after the VQGAN, which never hears it: renders of scenes against what the VQGAN
draws of their codes, by the hinge loss. Both pass through 8 bits, as pictures do where it is asked.

Source: Isola et al. (2017), section 3.2.2; Esser et al. (2021), section 3.1; hinge loss: Lim and
Ye, "Geometric GAN" (2017), section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.models.patch_discriminator import (
    DiscriminatorConfig,
    PatchDiscriminator,
    config_dict,
)
from pipelines.models.pixels import from_uint8, to_squares, to_uint8
from pipelines.models.vqgan import VQGAN
from pipelines.world.scenes import Scene
from training.adversarial import hinge_loss
from training.data import World, prefetched
from training.export import export
from training.loop import Loop, parse_arguments
from training.train_dalle import load_vqgan

PART = 16  # scenes that are looked at together where nothing is learnt


@torch.no_grad()
def pairs(world: World, scenes: list[Scene], vqgan: VQGAN, larger: int) -> tuple[Tensor, Tensor]:
    """Scenes as they are rendered, and as a VQGAN draws them again.

    Args:
        world: renders them.
        scenes: at least one.
        vqgan: float32, on the world's device.
        larger: how many of them, the first ones, are rendered at twice the size and squeezed, as
            pictures are that people choose.

    Returns:
        Both (B, 3, S, S) float32 in [-1, 1], in steps of 8 bits.
    """
    side, rendered = vqgan.config.resolution, []
    for part, size_px in ((scenes[:larger], 2 * side), (scenes[larger:], side)):
        if part:
            rendered += list(to_uint8(world.render(part, size_px) * 2 - 1))
    squares = to_squares(rendered, side, world.device) * 2 - 1
    drawn = vqgan.decode_indices(vqgan.encode(squares))
    real, fake = (from_uint8(to_uint8(pixels), world.device) for pixels in (squares, drawn))
    return real, fake


@torch.no_grad()
def evaluate(model: PatchDiscriminator, world: World, vqgan: VQGAN, scenes: int = 512,
             ) -> dict[str, float]:
    """How well renders and reconstructions of scenes are told apart that no training saw.

    Returns:
        ``renders`` and ``reconstructions``: shares of their patches that are taken for what they
        are; ``patches``: the mean of both, where a guess has 0.5; ``visible``: the same of the
        quarter of the patches of which the codes lose most; ``pictures``: by the mean logit of a
        picture; ``pairs``: shares of the scenes whose render has the higher mean logit.
    """
    sampler = world.sampler("eval-discriminator", jitter=0.25, held_out=True)
    logits, lost = [], []
    for start in range(0, scenes, PART):
        chosen = [sampler.sample(i) for i in range(start, min(start + PART, scenes))]
        real, fake = pairs(world, chosen, vqgan, len(chosen) // 2)
        logits.append(torch.stack([model(real), model(fake)]).float().cpu())
        error = (real - fake).abs().mean(1, keepdim=True).cpu()
        # What a logit sees is centred at its place and wider; the mean is near enough.
        lost.append(torch.nn.functional.adaptive_avg_pool2d(error, logits[-1].shape[-2:])[:, 0])
    real, fake = torch.cat(logits, 1)
    error = torch.cat(lost)
    right = torch.stack([real > 0, fake < 0]).float()
    most = error >= error.flatten().quantile(0.75)
    means = real.mean((1, 2)), fake.mean((1, 2))
    return {"renders": float(right[0].mean()), "reconstructions": float(right[1].mean()),
            "patches": float(right.mean()), "visible": float(right[:, most].mean()),
            "pictures": float(torch.cat([means[0] > 0, means[1] < 0]).float().mean()),
            "pairs": float((means[0] > means[1]).float().mean()),
            "mean_real": float(means[0].mean()), "mean_fake": float(means[1].mean())}


def train(config: dict[str, Any]) -> dict[str, float]:
    """Run or resume the training and export the averaged weights; returns ``evaluate``'s."""
    torch.manual_seed(config["seed"])
    vqgan = load_vqgan(config["vqgan"])
    model = PatchDiscriminator(DiscriminatorConfig(
        resolution=vqgan.config.resolution, **config["model"]))
    loop = Loop(config, model)
    vqgan, world = vqgan.to(loop.device), World(loop.device)
    sampler = world.sampler("train-discriminator", jitter=config["jitter"])
    batch_size, larger = config["batch_size"], round(config["larger"] * config["batch_size"])

    def plan(i: int) -> list[Scene]:
        return [sampler.sample(n) for n in range(i * batch_size, (i + 1) * batch_size)]

    def draw(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
        return pairs(world, scenes, vqgan, larger)

    batches = prefetched(plan, draw, loop.step, config.get("workers", 0))
    for _ in loop.steps():
        # In one batch, or each kind would be normalised by its own mean, and neither when asked.
        pixels = torch.cat(next(batches))
        with loop.accelerator.autocast():
            logits = loop.prepared(pixels)
        real, fake = logits.float().chunk(2)
        loss = hinge_loss(real, fake)
        loop.backward(loss)
        loop.scenes += batch_size
        loop.log(loss=loss, renders=(real > 0).float().mean(),
                 reconstructions=(fake < 0).float().mean())
    return finish(loop, world, vqgan, config)


def finish(loop: Loop[PatchDiscriminator], world: World, vqgan: VQGAN, config: dict[str, Any],
           ) -> dict[str, float]:
    """Evaluate the averaged weights and export them."""
    model = loop.ema.eval()
    figures = evaluate(model, world, vqgan)
    told = {name: f"{value:.3f}" for name, value in figures.items()}
    minutes = f"{loop.seconds / 60:.0f} minutes on {loop.device.type}"
    shape = f"{model.config.layers} halvings, width {model.config.width}"
    card = f"""# Patch discriminator of the embedded VQGAN

Says of each patch of {model.patch_px} px of a picture of {model.config.resolution} px whether
it looks real, as a render does (above 0), or drawn by the VQGAN from its codes (below 0).

**It was trained after the VQGAN, alone, and the VQGAN never heard it**: no decoder became sharper
by it. It knows renders of `pipelines/world` and what `assets/weights/{config["vqgan"]}` draws of
them, and nothing else.

- Command: `python -m training.train_discriminator`
- Network: taming-transformers' `NLayerDiscriminator`, {shape}, batch normalisation
- Pairs of render and reconstruction seen: {loop.scenes}; training time: {minutes}
- Of unseen scenes it takes {told["patches"]} of the patches for what they are (a guess: 0.5):
  {told["renders"]} of those of renders, {told["reconstructions"]} of those of reconstructions;
  {told["visible"]} of the quarter of which the codes lose most
- By the mean logit it takes {told["pictures"]} of the pictures for what they are; in
  {told["pairs"]} of the scenes the render has the higher one
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    facts = config_dict(model.config) | {"right": round(figures["patches"], 3)}
    export(model, "discriminator", "patch_discriminator", facts, card)
    print("  ".join(f"{name} {value:.3f}" for name, value in figures.items()) + "; exported")
    return figures


def main() -> None:
    """Command line."""
    train(parse_arguments("discriminator.toml"))


if __name__ == "__main__":
    main()
