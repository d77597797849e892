"""Train the embedded DALL·E: ``python -m training.train_dalle``.

Cross-entropy of the next token over one stream: the caption, read by the frozen sentence encoder
and by the model's own embeddings; the plan of the scene; the VQGAN's codes. Some of the
captions are dropped for classifier-free guidance, and each look at a scene has a new caption.

Source: Ramesh et al. (2021), section 2.2; guidance: Ho and Salimans, "Classifier-Free Diffusion
Guidance" (2022), section 3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torchvision.utils import save_image

from pipelines.dalle import DalleOptions, begin, write_block
from pipelines.dalle_layers import draw_written, steps_of
from pipelines.models.checkpoints.int8 import from_int8
from pipelines.models.dalle import PAD_ID, ImageTransformer, TransformerConfig, config_dict
from pipelines.models.dalle_state import Logits
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.vqgan import VQGAN
from pipelines.models.vqgan import build as build_vqgan
from pipelines.world.media import OPERATIONS
from pipelines.world.plans import LAYERS, plan_of, to_tokens
from pipelines.world.scenes import Scene
from training.dalle_batches import Batch, Batches, as_named, read
from training.data import World, prefetched
from training.export import WEIGHTS_DIR, export, load_exported
from training.layer_codes import LayerCodeStore, in_stream
from training.loop import RUNS_DIR, Loop, compiled, due, parse_arguments

SAMPLE_PROMPTS = (
    "a photo of a dog",
    "a red apple next to a blue car at the beach",
    "three strawberries",
    "a green bus and a purple microwave",
    "a cat above a bench",
    "a 3d icon of a rocket in space",
    "a closeup watercolor portrait of a young male teacher of literature with a book",
    "an airplane in the sky",
    "a photo of two bananas",
    "a pencil sketch of an elephant",
    "a pizza",
    "a blue umbrella",
    "a yellow car left of a pink guitar",
    "a lion on the grass",
    "a woman firefighter",
    "a photo of a giraffe right of a bicycle",
)


def load_vqgan(name: str = "vqgan") -> VQGAN:
    """An embedded VQGAN, frozen, in float32."""
    folder = WEIGHTS_DIR / name
    model = build_vqgan(json.loads((folder / "config.json").read_text())["config"])
    load_exported(model, folder / "model.safetensors")
    return model.eval().requires_grad_(False)


def load_encoder(device: torch.device) -> SentenceEncoder:
    """The embedded sentence encoder, frozen."""
    from pipelines.models.checkpoints.catalogue import Catalogue
    from pipelines.models.checkpoints.loading import load_model

    catalogue = Catalogue.load()
    model = load_model(catalogue, catalogue.get("embedded/minilm"), device)
    return cast(SentenceEncoder, model.eval().requires_grad_(False))


def layer_losses(model: ImageTransformer, logits: Logits, codes: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens of each layer (B, L), in nats.

    Args:
        model: knows how codes are spelt.
        logits: of the model.
        codes: (B, L, grid, grid) int64, at least 0.
    """
    blocks = model.to_blocks(codes)
    each = F.cross_entropy(logits.codes.float().flatten(0, 2), blocks.flatten(), reduction="none")
    return each.view(len(codes), -1, model.layer_steps * model.block_codes).mean(-1)


def losses(model: ImageTransformer, logits: Logits, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the codes' tokens and of the plan's, in nats.

    Args:
        model: knows how codes are spelt.
        logits: of the model.
        batch: the padding that ends a plan counts once.
    """
    there, plan = batch.slots >= 0, batch.plan  # (B, L), (B, P)
    each = layer_losses(model, logits, batch.codes.clamp_min(0))
    of_codes = (each * there).sum() / there.sum()
    assert logits.plan is not None
    length = min(plan.shape[1] + 1, model.config.plan_length)
    targets = F.pad(plan, (0, 1))[:, :length]
    counted = F.pad(plan != PAD_ID, (1, 0), value=True)[:, :length]
    of_plan = F.cross_entropy(logits.plan[:, :length][counted].float(), targets[counted])
    return of_codes, of_plan


@torch.no_grad()
def draw(model: ImageTransformer, vqgan: VQGAN, encoder: SentenceEncoder, texts: list[str],
         seed: int = 0) -> Tensor:
    """A picture of each text, (N, 3, H, W) about [-1, 1], as the product draws it."""
    pictures, options = [], DalleOptions()
    for text in texts:
        ids, states = encoder.read([text, ""], model.config.text_length)
        writing = begin(model, ids, states, [seed], True)
        for _ in range(steps_of(model, writing.plans)):
            write_block(model, writing, options)
        pictures.append(draw_written(model, vqgan, writing.plans, writing.blocks))
    return torch.cat(pictures)


def code_store(config: dict[str, Any], vqgan: VQGAN, world: World) -> LayerCodeStore:
    """The scenes of a configuration."""
    return LayerCodeStore(RUNS_DIR / "codes", vqgan, world, config["split"], config["chunk"],
                          kinds=config["kinds"], coloured=config["coloured"],
                          in_medium=config["in_medium"], weights=config.get("weights"))


def sample_grid(model: ImageTransformer, vqgan: VQGAN, encoder: SentenceEncoder, path,
                seed: int = 0) -> None:
    """Draw the fixed prompts and save them as one picture."""
    pictures = draw(model, vqgan, encoder, list(SAMPLE_PROMPTS), seed)
    save_image((pictures + 1) / 2, path, nrow=4)


_BY_PLAN_TOKEN = ("plan_embedding.weight", "plan_head.weight", "plan_head.bias")


def begin_from(model: ImageTransformer, folder: Path) -> None:
    """Take over what has the same name and shape in another transformer's weights.

    One without drafts had two tokens less, and knew what is finished as it knew everything.
    """
    own = model.state_dict()
    for name, tensor in from_int8(load_file(folder / "model.safetensors")).items():
        if name == "layer_position" and name in own and 2 * len(tensor) == len(own[name]):
            tensor = tensor.repeat(2, 1)
        rows = len(tensor) if name in _BY_PLAN_TOKEN else None
        if name in own and own[name][:rows].shape == tensor.shape:
            own[name][:rows] = tensor
    model.load_state_dict(own)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns nats a token of codes."""
    torch.manual_seed(config["seed"])
    model = ImageTransformer(TransformerConfig(**config["model"]))
    model.initialise()
    if config.get("from_shipped"):
        load_exported(model, WEIGHTS_DIR / config["export_as"] / "model.safetensors")
    elif config.get("start_from"):
        begin_from(model, Path(config["start_from"]))
    loop = Loop(config, model)
    world, vqgan = World(loop.device), load_vqgan(config["vqgan"]).to(loop.device)
    encoder = load_encoder(loop.device)
    batches = Batches(config, world, code_store(config, vqgan, world), encoder)
    forward = compiled(loop.model, config)
    if config.get("compile"):
        trace(loop, forward, batches)
    upcoming = prefetched(batches.plan, batches.draw, loop.step, config.get("workers", 0))
    for step in loop.steps():
        batch = next(upcoming).to(loop.device)
        with loop.accelerator.autocast():
            logits = batch.logits(forward)
        of_codes, of_plan = losses(loop.model, logits, batch)
        loop.backward(of_codes + config["plan_weight"] * of_plan)
        loop.scenes += len(batch.slots)
        loop.log(codes=of_codes, plan=of_plan)
        if due(step, config.get("export_every", 0)):
            sample_grid(loop.ema.eval(), vqgan, encoder, loop.folder / "samples.png")
            write(loop, {"all": float(of_codes.detach())})
    sample_grid(loop.ema.eval(), vqgan, encoder, loop.folder / "samples.png")
    return write(loop, evaluate(loop, world, vqgan, encoder, config))


def trace(loop: Loop[ImageTransformer], forward: Callable[..., Logits], batches: Batches) -> None:
    """Have the network compiled for every kind of step before another thread draws batches.

    Tracing holds the interpreter's lock and asks for that of autocast's cache; a thread that
    leaves autocast holds that one and asks for the interpreter's, and both wait for ever.
    """
    batch = batches.draw(batches.plan(loop.step))
    for lengths in loop.config["lengths"]:
        with loop.accelerator.autocast():
            logits = batch.shaped(*lengths).to(loop.device).logits(forward)
        assert logits.plan is not None
        (logits.codes.float().sum() + logits.plan.float().sum()).backward()
    loop.model.zero_grad(set_to_none=True)


def kind_of(scene: Scene, slot: int) -> str:
    """What a layer of a scene is; ``slot`` as for ``ImageTransformer.forward``."""
    changed = scene.medium in OPERATIONS
    if slot == 0:
        return "grounds in a medium" if changed else "grounds"
    if slot < LAYERS:
        return "things in their own colours"
    return "things in a medium" if changed else "painted things"


@torch.no_grad()
def evaluate(loop: Loop[ImageTransformer], world: World, vqgan: VQGAN, encoder: SentenceEncoder,
             config: dict[str, Any], count: int = 256) -> dict[str, float]:
    """Cross-entropy in nats a token of the codes of scenes that no training saw: of "all" layers,
    and of each kind, as one may be learnt while another is not."""
    store = LayerCodeStore(RUNS_DIR / "codes", vqgan, world, "eval-dalle", count)
    found: dict[str, list[float]] = {"all": []}
    if not len(store):
        store.grow()
    for start in range(0, count, 32):
        rows = list(range(start, start + 32))
        scenes = [store.sampler.sample(i) for i in rows]
        captions = [world.captioned(scene) for scene in scenes]
        ids, states = read(encoder, [caption.text for caption in captions],
                           config["model"]["text_length"])
        orders = [caption.order for caption in captions]
        plan = torch.tensor([to_tokens(plan_of(as_named(scene, order)))
                             for scene, order in zip(scenes, orders, strict=True)])
        batch = Batch(ids, states, plan, *in_stream(store.codes(rows), orders)).to(loop.device)
        logits = batch.logits(loop.ema.eval())
        each = layer_losses(loop.ema, logits, batch.codes.clamp_min(0)).tolist()
        for scene, of_layers, slots in zip(scenes, each, batch.slots.tolist(), strict=True):
            for loss, slot in zip(of_layers, slots, strict=True):
                if slot >= 0:
                    for kind in ("all", kind_of(scene, slot)):
                        found.setdefault(kind, []).append(loss)
    return {kind: sum(values) / len(values) for kind, values in found.items()}


def write(loop: Loop[ImageTransformer], found: Mapping[str, float]) -> float:
    """Export the averaged weights with their card.

    Args:
        loop: the run.
        found: cross-entropy in nats a token, of "all" and perhaps by kinds of layers.
    """
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    by_kind = "".join(f", {kind} {loss:.3f}" for kind, loss in found.items() if kind != "all")
    card = f"""# Embedded DALL·E

One transformer over text tokens, a plan and the codes of layers, 64 each, {millions:.1f} M
parameters; the text is also read by the embedded sentence encoder. Trained on scenes of
`pipelines/world` only.

- Command: `python -m training.train_dalle`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Cross-entropy in nats a token, of which two spell a code: {found["all"]:.3f}{by_kind}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(loop.ema, loop.config["export_as"], "dalle", config_dict(loop.ema.config), card,
           int8=loop.config.get("int8", False))
    print(f"dalle: {found['all']:.3f} nats a token{by_kind} after {loop.scenes} scenes; exported",
          flush=True)
    return found["all"]


def main() -> None:
    """Command line."""
    train(parse_arguments("dalle.toml"))


if __name__ == "__main__":
    main()
