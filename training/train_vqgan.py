"""Train the embedded VQGAN on scenes of the world: ``python -m training.train_vqgan``.

Codes are the points of a fixed grid (finite scalar quantisation): learned codes, compared by angle
and kept by moving averages, huddled in a corner within minutes at this scale, and a grid cannot.
The reconstruction loss is L1 on pixels and on their gradients, which keeps edges without the
perceptual network; with ``perceptual`` the features of one are compared as well, on crops, and a
patch discriminator with taming's adaptive weight joins after ``discriminator_from`` of the run.
It belongs to a second run that trains the decoder alone, by AdamW at a low rate
(``configs/vqgan_decoder.toml``): with Muon's steps, which are as long whatever the gradient, a
discriminator that knew nothing took six decibels away within a hundred steps.

Source: Esser et al. (2021), section 3.1; Mentzer et al. (2023), section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.utils import save_image

from pipelines.models.vqgan import VQGAN, VQGANConfig, config_dict
from pipelines.world.scenes import Scene
from training.adversarial import (
    Discriminator,
    FeatureMaps,
    adaptive_weight,
    crops,
    perceptual_loss,
)
from training.data import World, prefetched
from training.export import export
from training.loop import Loop, compiled, parse_arguments


def gradient_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical finite differences."""
    dx = (output[..., 1:] - output[..., :-1]) - (target[..., 1:] - target[..., :-1])
    dy = (output[..., 1:, :] - output[..., :-1, :]) - (target[..., 1:, :] - target[..., :-1, :])
    return dx.abs().mean() + dy.abs().mean()


def psnr_of(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of batches in [-1, 1], the mean over pictures, scalar."""
    error = (output.clamp(-1, 1) - target).float().pow(2).mean((1, 2, 3)) / 4
    return (-10 * error.clamp_min(1e-10).log10()).mean()


def psnr_db(output: Tensor, target: Tensor) -> float:
    """The same as a number."""
    return float(psnr_of(output, target))


@torch.no_grad()
def evaluate(model: VQGAN, world: World, scenes: int = 128) -> tuple[float, Tensor]:
    """PSNR in dB on scenes no training saw, and the first pictures beside their reconstructions."""
    sampler = world.sampler("eval-vqgan", held_out=True, jitter=0.25)
    values, shown = [], None
    for start in range(0, scenes, 16):
        target = (
            world.render(
                [sampler.sample(i) for i in range(start, start + 16)], model.config.resolution
            )
            * 2
            - 1
        )
        output = model.decode_indices(model.encode(target))
        values.append(psnr_db(output, target))
        shown = torch.cat([target, output.clamp(-1, 1)]) if shown is None else shown
    assert shown is not None
    return sum(values) / len(values), shown


def feature_maps(model_id: str, device: torch.device) -> FeatureMaps:
    """Feature maps of a frozen model of the catalogue, for the perceptual loss.

    Args:
        model_id: of a network with ``stage_maps``.
        device: where.

    Raises:
        EaselError: the catalogue has no such model, or its weights are not there.
    """
    from pipelines.models.checkpoints.catalogue import Catalogue
    from pipelines.models.checkpoints.loading import load_model

    catalogue = Catalogue.load()
    model: Any = load_model(catalogue, catalogue.get(model_id), device)
    return model.eval().requires_grad_(False).stage_maps


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns PSNR in dB."""
    torch.manual_seed(config.get("seed", 0))
    model = VQGAN(VQGANConfig(**config["model"]))
    if config.get("start_from"):
        state = load_file(Path(config["start_from"]) / "model.safetensors")
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    if config["decoder_only"]:
        # What a transformer learnt of the codes stays true.
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    loop = Loop(config, model)
    world = World(loop.device)
    sampler, batch_size = (
        world.sampler("train-vqgan", jitter=config["jitter"]),
        config["batch_size"],
    )

    def plan(i: int) -> list[Scene]:
        return [sampler.sample(n) for n in range(i * batch_size, (i + 1) * batch_size)]

    def draw(scenes: list[Scene]) -> Tensor:
        return world.render(scenes, model.config.resolution) * 2 - 1

    realism = Realism(loop, config)
    batches = prefetched(plan, draw, loop.step, config.get("workers", 0))
    encode, decode = compiled(model.encode_latents, config), compiled(model.decode, config)
    for _ in loop.steps():
        pixels = next(batches).to(loop.device)
        with loop.accelerator.autocast(), torch.set_grad_enabled(not config["decoder_only"]):
            latents = encode(pixels).float()
        quantised, _ = model.quantize(latents)
        with loop.accelerator.autocast():
            output = decode(quantised)
        output = output.float()
        reconstruction = (output - pixels).abs().mean()
        loss = reconstruction + config["gradient_weight"] * gradient_loss(output, pixels)
        loss = loss + config["square_weight"] * (output - pixels).pow(2).mean()
        loss, figures = realism.add(loss, output, pixels)
        loop.backward(loss)
        realism.update()
        loop.scenes += batch_size
        loop.log(l1=reconstruction, psnr=psnr_of(output.detach(), pixels), **figures)
    return finish(loop, world, config)


class Realism:
    """The perceptual and the adversarial part of the loss, on crops; both may be switched off.

    Args:
        loop: the run; its checkpoint keeps the discriminator.
        config: with ``discriminator_from``: share of the run after which it begins to learn,
            ``discriminator_alone``: for how many steps it learns before the decoder hears it,
            ``discriminator_weight``; and optionally ``perceptual``: id of the model whose features
            are compared, ``perceptual_weight``, ``perceptual_stages`` and ``crop_px``.
        maps: feature maps; by default those of ``perceptual``.
    """

    def __init__(self, loop: Loop[VQGAN], config: dict[str, Any],
                 maps: FeatureMaps | None = None) -> None:
        self.loop, self.config = loop, config
        self.discriminator: Discriminator | None = None
        if maps is None and config.get("perceptual"):
            maps = feature_maps(config["perceptual"], loop.device)
        self.maps, self.side = maps, config.get("crop_px", 96)
        self._pair: tuple[Tensor, Tensor] | None = None
        if "discriminator" in loop.extra:
            self._begin().restore(loop.extra["discriminator"])

    def _begin(self) -> Discriminator:
        self.discriminator = Discriminator(self.loop.device)
        return self.discriminator

    def add(self, loss: Tensor, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole loss, and the parts of it that were added here."""
        figures: dict[str, Tensor] = {}
        adversarial = self.loop.progress > self.config["discriminator_from"]
        self._pair = None
        if self.maps is None and not adversarial:
            return loss, figures
        generator = torch.Generator().manual_seed(self.loop.step)
        fake, real = crops(output, target, self.side, generator)
        if self.maps is not None:
            figures["perceptual"] = perceptual_loss(self.maps, fake, real,
                                                    self.config.get("perceptual_stages", 5))
            loss = loss + self.config.get("perceptual_weight", 1.0) * figures["perceptual"]
        if not adversarial:
            return loss, figures
        self._pair = real, fake.detach()
        discriminator = self.discriminator or self._begin()
        if discriminator.updates >= self.config["discriminator_alone"]:
            discriminator.network.requires_grad_(False)
            looks = discriminator.generator_loss(fake)
            last: Any = self.loop.model.decoder.conv_out
            weight = adaptive_weight(loss, looks, last.weight)
            figures |= {"looks": looks, "weight": weight}
            loss = loss + self.config["discriminator_weight"] * weight * looks
        return loss, figures

    def update(self) -> None:
        """Let the discriminator learn from the last crops, where it has joined."""
        if self._pair is None or self.discriminator is None:
            return
        self.discriminator.network.requires_grad_(True)
        self.tells_apart = self.discriminator.update(*self._pair)
        self.loop.extra["discriminator"] = self.discriminator.state()


def edge_energy(pictures: Tensor) -> Tensor:
    """Mean squared finite difference of pictures (B, 3, H, W), scalar: what a blur takes away."""
    return ((pictures[..., 1:] - pictures[..., :-1]).pow(2).mean()
            + (pictures[..., 1:, :] - pictures[..., :-1, :]).pow(2).mean())


def history(config: dict[str, Any]) -> str:
    """A line of the model card on where the run started, empty for a run from the beginning."""
    if not config.get("start_from"):
        return ""
    what = "the decoder alone, " if config["decoder_only"] else ""
    return f"- This run trained {what}from earlier weights (`start_from`)\n"


def finish(loop: Loop[VQGAN], world: World, config: dict[str, Any]) -> float:
    """Evaluate the averaged weights, save a sample grid and export."""
    model = loop.ema.eval()
    value, shown = evaluate(model, world)
    true, drawn = shown.unflatten(0, (-1, 2, 16)).unbind(1)
    edges = float(edge_energy(drawn.flatten(0, 1)) / edge_energy(true.flatten(0, 1)))
    networks = ("patch networks (`pipelines/models/patch_codec.py`)" if model.config.patch_widths
                else "taming-transformers' encoder and decoder")
    save_image((shown + 1) / 2, loop.folder / "samples.png", nrow=8)
    card = f"""# Embedded VQGAN

{model.config.resolution} px pictures to 16 x 16 codes of {model.config.n_embed}
(finite scalar quantisation, levels {model.config.levels}),
on {networks}. Trained on scenes of `pipelines/world` only.

- Command: `python -m training.train_vqgan`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
{history(config)}- PSNR on unseen scenes: {value:.2f} dB
- Edge energy of reconstructions over that of renders: {edges:.2f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(model, config.get("export_as", "vqgan"), "vqgan", config_dict(model.config), card)
    print(f"PSNR on unseen scenes {value:.2f} dB; weights exported")
    return value


def main() -> None:
    """Command line."""
    train(parse_arguments("vqgan.toml"))


if __name__ == "__main__":
    main()
