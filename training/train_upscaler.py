"""Train the embedded upscaler: ``python -m training.train_upscaler`` (after the VQGAN).

It learns from what it will be given: pictures decoded from VQGAN codes, beside renders of the same
scenes at twice the size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.utils import save_image

from pipelines.models.upscaler import Upscaler, UpscalerConfig, config_dict
from training.data import World
from training.export import export
from training.loop import Loop, parse_arguments
from training.train_dalle import load_vqgan
from training.train_vqgan import gradient_loss, psnr_db


@torch.no_grad()
def pairs(world: World, split: str, count: int, factor: int) -> tuple[Tensor, Tensor]:
    """Decoded pictures (N, 3, s, s) and renders (N, 3, factor · s, factor · s), both in [-1, 1]."""
    vqgan, sampler = (
        load_vqgan(),
        world.sampler(split, jitter=0.2, held_out=split.startswith("eval")),
    )
    small_px, low, high = vqgan.config.resolution, [], []
    for start in range(0, count, 16):
        scenes = [sampler.sample(i) for i in range(start, min(start + 16, count))]
        decoded = vqgan.decode_indices(vqgan.encode(world.render(scenes, small_px) * 2 - 1))
        low.append(decoded.clamp(-1, 1))
        high.append(world.render(scenes, small_px * factor) * 2 - 1)
    return torch.cat(low), torch.cat(high)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns PSNR in dB."""
    torch.manual_seed(config["seed"])
    model = Upscaler(UpscalerConfig(**config["model"]))
    torch.nn.init.zeros_(model.outward.weight)
    loop = Loop(config, model)
    world = World(loop.device)
    factor, crop = model.config.factor, config["crop"]
    low, high = pairs(world, "train-upscaler", config["pool"], factor)
    for step in loop.steps():
        generator = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
        rows = torch.randint(len(low), (config["batch_size"],), generator=generator)
        y, x = torch.randint(low.shape[-1] - crop + 1, (2,), generator=generator).tolist()
        source = low[rows, :, y : y + crop, x : x + crop].to(loop.device)
        target = high[
            rows, :, factor * y : factor * (y + crop), factor * x : factor * (x + crop)
        ].to(loop.device)
        with loop.accelerator.autocast():
            output = loop.prepared(source)
        output = output.float()
        loss = (output - target).abs().mean() + 0.5 * gradient_loss(output, target)
        loop.backward(loss)
        loop.scenes += len(rows)
        loop.log(loss=loss, psnr=psnr_db(output.detach(), target))
    return finish(loop, world)


@torch.no_grad()
def finish(loop: Loop[Upscaler], world: World) -> float:
    """Compare with bilinear enlargement on unseen scenes, and export."""
    low, high = pairs(world, "eval-upscaler", 64, loop.ema.config.factor)
    learned = torch.cat([loop.ema(part) for part in low.split(16)])
    plain = torch.nn.functional.interpolate(
        low, scale_factor=loop.ema.config.factor, mode="bilinear"
    )
    value, reference = psnr_db(learned, high), psnr_db(plain, high)
    save_image(
        (torch.cat([high[:8], plain[:8], learned[:8]]).clamp(-1, 1) + 1) / 2,
        loop.folder / "samples.png",
        nrow=8,
    )
    card = f"""# Embedded upscaler

Enlarges pictures of the embedded VQGAN by {loop.ema.config.factor}.
Trained on scenes of `pipelines/world` only.

- Command: `python -m training.train_upscaler`
- Crops seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- PSNR against full-size renders, unseen scenes: {value:.2f} dB (bilinear {reference:.2f} dB)
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(loop.ema, "upscaler", "upscaler", config_dict(loop.ema.config), card)
    print(f"upscaler: {value:.2f} dB, bilinear {reference:.2f} dB; weights exported")
    return value


def main() -> None:
    """Command line."""
    train(parse_arguments("upscaler.toml"))


if __name__ == "__main__":
    main()
