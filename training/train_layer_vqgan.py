"""Train the VQGAN of layers with transparency: ``python -m training.train_layer_vqgan``.

Layers of 128 px (``training.transparent``) to 8 × 8 codes and back. A reconstruction is judged as
it will be seen: before a random colour, by L1, its gradients and the features of a network that
has seen photographs; its coverage by itself as well.

Source: Zhang and Agrawala, "Transparent Image Layer Diffusion using Latent Transparency" (2024);
otherwise as ``training.train_vqgan``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.utils import save_image

from pipelines.models.vqgan import VQGAN, VQGANConfig, config_dict
from training.data import World, prefetched
from training.export import export
from training.loop import Loop, compiled, due, parse_arguments
from training.train_vqgan import Realism, edge_energy, gradient_loss, history, psnr_db, psnr_of
from training.transparent import LAYER_PX, Layer, draw_layers, layers_of


class LayerSampler:
    """Layers of scenes, each thing as often as scenes have it, grounds less often.

    Args:
        world: draws.
        split: which stream of scenes.
        grounds: of so many scenes one gives its ground.
        options: for ``World.sampler``.
    """

    def __init__(self, world: World, split: str, grounds: int = 4, **options: Any) -> None:
        self.sampler, self.grounds = world.sampler(split, **options), grounds
        self._next, self._left = 0, list[Layer]()

    def take(self, count: int) -> list[Layer]:
        """The next ``count`` layers."""
        while len(self._left) < count:
            ground, *things = layers_of(self.sampler.sample(self._next))
            self._left += [*dict.fromkeys(things), *([] if self._next % self.grounds else [ground])]
            self._next += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def over(layers: Tensor, behind: Tensor) -> Tensor:
    """Layers (B, 4, H, W) in [-1, 1] before colours (B, 3, 1, 1) in [0, 1]: (B, 3, H, W) in
    [-1, 1]."""
    colours, covers = (layers[:, :3] + 1) / 2, (layers[:, 3:] + 1) / 2
    return (colours + (1 - covers) * behind) * 2 - 1


def begin_from(model: VQGAN, folder: Path) -> None:
    """Take over weights of a VQGAN of three channels, or of four.

    The fourth channel begins with what the mean of the others has.
    """
    state = {name: tensor.float() for name, tensor in
             load_file(folder / "model.safetensors").items()}
    own = model.state_dict()
    for name in ("encoder.conv_in.weight", "decoder.conv_out.weight", "decoder.conv_out.bias"):
        axis = 1 if name.startswith("encoder") else 0
        if state[name].shape != own[name].shape:
            three = state[name].unflatten(axis, (3, -1))
            state[name] = torch.cat([three, three.mean(axis, keepdim=True)], axis).flatten(
                axis, axis + 1)
    model.load_state_dict(state)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns PSNR in dB."""
    torch.manual_seed(config.get("seed", 0))
    model = VQGAN(VQGANConfig(**config["model"]))
    if config.get("start_from"):
        begin_from(model, Path(config["start_from"]))
    if config["decoder_only"]:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    loop = Loop(config, model)
    world = World(loop.device)
    layers = LayerSampler(world, f"train-layers-{loop.step}", coloured=0.65)
    batches = prefetched(lambda _: layers.take(config["batch_size"]),
                         lambda chosen: draw_layers(world, chosen) * 2 - 1, loop.step,
                         0)
    realism = Realism(loop, config)
    encode, decode = compiled(model.encode_latents, config), compiled(model.decode, config)
    for step in loop.steps():
        target = next(batches).to(loop.device)
        behind = torch.rand(len(target), 3, 1, 1,
                            generator=torch.Generator().manual_seed(step)).to(loop.device)
        with loop.accelerator.autocast(), torch.set_grad_enabled(not config["decoder_only"]):
            latents = encode(target).float()
        quantised, _ = model.quantize(latents)
        with loop.accelerator.autocast():
            output = decode(quantised)
        output = output.float()
        seen, wanted = over(output, behind), over(target, behind)
        cover = (output[:, 3] - target[:, 3]).abs().mean()
        reconstruction = (seen - wanted).abs().mean()
        loss = reconstruction + config["gradient_weight"] * gradient_loss(seen, wanted)
        loss = loss + config["square_weight"] * (seen - wanted).pow(2).mean()
        loss = loss + config["cover_weight"] * (
            cover + config["gradient_weight"] * gradient_loss(output[:, 3:], target[:, 3:]))
        if due(step, config["realism_every"]):
            loss, _ = realism.add(loss, seen, wanted)
        loop.backward(loss)
        realism.update()
        loop.scenes += len(target)
        loop.log(l1=reconstruction, cover=cover, psnr=psnr_of(seen.detach(), wanted))
    return finish(loop, world, config)


@torch.no_grad()
def evaluate(model: VQGAN, world: World, count: int = 256) -> tuple[float, Tensor, Tensor]:
    """PSNR in dB before grey of unseen scenes' layers; they and their reconstructions so."""
    chosen = LayerSampler(world, "eval-layers", held_out=True).take(count)
    target = draw_layers(world, chosen) * 2 - 1
    output = torch.cat([model.decode_indices(model.encode(part)) for part in target.split(16)])
    grey = torch.full((1, 3, 1, 1), 0.75)
    seen, wanted = over(output.clamp(-1, 1), grey), over(target, grey)
    return psnr_db(seen, wanted), wanted, seen


def finish(loop: Loop[VQGAN], world: World, config: dict[str, Any]) -> float:
    """Evaluate the averaged weights, save a sample grid and export."""
    model = loop.ema.eval()
    value, true, drawn = evaluate(model, world)
    edges = float(edge_energy(drawn) / edge_energy(true))
    shown = torch.cat([part for pair in zip(true[:32].split(8), drawn[:32].split(8), strict=True)
                       for part in pair])
    save_image((shown.clamp(-1, 1) + 1) / 2, loop.folder / "samples.png", nrow=8)
    card = f"""# VQGAN of layers with transparency

Layers of {LAYER_PX} px, premultiplied RGB and coverage, to 8 x 8 codes of {model.config.n_embed}
(finite scalar quantisation, levels {model.config.levels}), on patch networks
(`pipelines/models/patch_codec.py`). Trained on layers of scenes of `pipelines/world` only.

- Command: `python -m training.train_layer_vqgan`
- Layers seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
{history(config)}- PSNR on layers of unseen scenes, before light grey: {value:.2f} dB
- Edge energy of reconstructions over that of renders: {edges:.2f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(model, config["export_as"], "vqgan", config_dict(model.config), card)
    print(json.dumps({"psnr_db": value, "edges": edges}), flush=True)
    return value


def main() -> None:
    """Command line."""
    train(parse_arguments("layer_vqgan.toml"))


if __name__ == "__main__":
    main()
