"""Train the embedded DALL·E: ``python -m training.train_dalle``.

Cross-entropy of the next token over one stream: the caption, read by the frozen sentence encoder
and by the model's own embeddings; the plan of the scene; the VQGAN's codes. A tenth of the
captions are dropped for classifier-free guidance, and each look at a scene has a new caption. Most
blocks of the background are left out of most steps (``blocks``): a scene then costs half as much.

Source: Ramesh et al. (2021), section 2.2; guidance: Ho and Salimans, "Classifier-Free Diffusion
Guidance" (2022), section 3.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from pipelines.models.dalle import PAD_ID, ImageTransformer, Logits, TransformerConfig, config_dict
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.vqgan import VQGAN
from pipelines.models.vqgan import build as build_vqgan
from pipelines.world.media import OPERATIONS
from pipelines.world.plans import plan_of, to_tokens
from pipelines.world.scenes import Scene
from training.codes import CodeStore, Supply
from training.data import World, prefetched
from training.export import UNFINISHED_DIR, WEIGHTS_DIR, export, load_exported
from training.layer_codes import LayerCodeStore
from training.loop import RUNS_DIR, Loop, compiled, due, fast_autocast, parse_arguments

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
    """An embedded VQGAN, or an unfinished one, frozen, in float32."""
    folder = WEIGHTS_DIR / name
    if not folder.exists():
        folder = UNFINISHED_DIR / name
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


@torch.no_grad()
def read(encoder: SentenceEncoder, texts: list[str], most: int) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and states (B, T, width) of captions, T a multiple of 8 and at most ``most``."""
    with fast_autocast(encoder.device):
        ids, states = encoder.read(texts, most)
    missing = min(most, -(-ids.shape[1] // 8) * 8) - ids.shape[1]
    return F.pad(ids, (0, missing)), F.pad(states.float(), (0, 0, 0, missing))


def padded(rows: Tensor, length: int) -> Tensor:
    """Rows (B, L, …) cut or padded to a length."""
    behind = [0, 0] * (rows.ndim - 2)
    return F.pad(rows, (*behind, 0, length - rows.shape[1]))


# Of a scene its number, caption and plan, and the order in which the caption names its things.
Row = tuple[int, str, list[int], tuple[int, ...]]


def as_named(scene: Scene, order: Sequence[int]) -> Scene:
    """The scene, whose objects stand in the order in which a caption names them."""
    return replace(scene, objects=tuple(scene.objects[k] for k in order))


def named_first(codes: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Codes (N, L, grid, grid) whose things stand in the order in which captions name them."""
    codes = codes.clone()
    for row, order in zip(codes, orders, strict=True):
        row[1 : 1 + len(order)] = row[[1 + k for k in order]]
    return codes


class Batches:
    """Makes training batches of captions, plans and codes from a growing store.

    Args:
        config: the run's.
        world: draws and describes scenes.
        store: their codes.
        encoder: reads captions.
    """

    def __init__(self, config: dict[str, Any], world: World, store: CodeStore,
                 encoder: SentenceEncoder) -> None:
        self.config, self.world, self.store = config, world, store
        self.encoder = encoder
        self.supply = Supply(len(store), config["chunk"], config["fresh_every"])
        self._sorted: tuple[int, list[list[Row]]] = -1, []

    def plan(self, step: int) -> list[Row]:
        """The rows of batch ``step``.

        So many batches as ``sorted_over`` says are drawn at once and share their scenes by the
        length of caption and plan: little of a batch is padding then.
        """
        lengths = self.config["lengths"] if self.config.get("compile") else []

        def size(row: Row) -> tuple[int, int]:
            text, plan = self._length(row[1]), sum(id != PAD_ID for id in row[2])
            fits = [text <= most and plan <= things for most, things, _ in lengths]
            return fits.index(True) if True in fits else len(fits), text + plan

        together = self.config.get("sorted_over", 1)
        group = step // together
        if self._sorted[0] != group:
            rows = [row for k in range(together) for row in self._rows(group * together + k)]
            rows.sort(key=size)
            count = self.config["batch_size"]
            batches = [rows[i : i + count] for i in range(0, len(rows), count)]
            random.Random(f"{self.config['seed']}/{group}/order").shuffle(batches)
            self._sorted = group, batches
        return self._sorted[1][step % together]

    def _rows(self, step: int) -> list[Row]:
        rng = random.Random(f"{self.config['seed']}/{step}")
        count, known = self.config["batch_size"], self.supply.known(step)
        # Half of each batch from the newest scenes, so that each is seen soon and then again.
        newest = max(0, known - self.config["newest"])
        chosen = [rng.randrange(newest if k % 2 else 0, known) for k in range(count)]
        rows: list[Row] = []
        for i in chosen:
            scene = self.store.sampler.sample(i)
            dropped = rng.random() < self.config["caption_dropout"]
            caption = self.world.captioned(scene, rng.randrange(1 << 30))
            rows.append((i, "" if dropped else caption.text,
                         to_tokens(plan_of(as_named(scene, caption.order))), caption.order))
        return rows

    def draw(self, rows: list[Row]) -> tuple[Tensor, ...]:
        """Text ids and states, plans, and codes (B, grid, grid); texts and plans without what is
        padding in all, or where the network is compiled, which it is anew for each length, of the
        first of ``lengths`` that they fit."""
        chosen, texts, plans, orders = map(list, zip(*rows, strict=True))
        while len(self.store) <= max(chosen):
            self.store.grow()
        tokens = torch.tensor(plans)
        tokens = tokens[:, : int((tokens != PAD_ID).sum(1).max())]
        ids, states = read(self.encoder, texts, self.config["model"]["text_length"])
        codes = named_first(self.store.codes(chosen), orders)
        layers = int((codes[:, :, 0, 0] >= 0).sum(1).max())
        if self.config.get("compile"):
            text, things, layers = next(
                shape for shape in self.config["lengths"]
                if not ids[:, shape[0]:].any() and shape[1] >= tokens.shape[1])
            ids, states, tokens = padded(ids, text), padded(states, text), padded(tokens, things)
        return ids, states, tokens, codes[:, :layers]

    def _length(self, text: str) -> int:
        return len(self.encoder.tokenizer.encode(text).ids)


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


def losses(model: ImageTransformer, logits: Logits, plan: Tensor, codes: Tensor,
           ) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the codes' tokens and of the plan's, in nats.

    Args:
        model: knows how codes are spelt.
        logits: of the model.
        plan: (B, P) int64; the padding that ends one counts once.
        codes: (B, L, grid, grid) int64, below 0 where a picture has no such layer.
    """
    there = codes[:, :, 0, 0] >= 0  # (B, L)
    of_codes = (layer_losses(model, logits, codes.clamp_min(0)) * there).sum() / there.sum()
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
        writing = begin(model, ids, [seed], True, states)
        assert writing.plans is not None
        for _ in range(steps_of(model, writing.plans)):
            write_block(model, writing, options)
        pictures.append(draw_written(model, vqgan, writing.plans, writing.blocks))
    return torch.cat(pictures)


def code_store(config: dict[str, Any], vqgan: VQGAN, world: World) -> LayerCodeStore:
    """The scenes of a configuration."""
    return LayerCodeStore(RUNS_DIR / "codes", vqgan, world, config["split"], config["chunk"],
                          kinds=config["kinds"], coloured=config["coloured"],
                          weights=config.get("weights"))


def sample_grid(model: ImageTransformer, vqgan: VQGAN, encoder: SentenceEncoder, path,
                seed: int = 0) -> None:
    """Draw the fixed prompts and save them as one picture."""
    pictures = draw(model, vqgan, encoder, list(SAMPLE_PROMPTS), seed)
    save_image((pictures + 1) / 2, path, nrow=4)


def begin_from(model: ImageTransformer, folder: Path) -> None:
    """Take over what has the same name and shape in another transformer's weights."""
    own = model.state_dict()
    found = {name: tensor.float() for name, tensor in
             from_int8(load_file(folder / "model.safetensors")).items()
             if name in own and own[name].shape == tensor.shape}
    model.load_state_dict({**own, **found})


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns nats a token of codes."""
    torch.manual_seed(config["seed"])
    model = ImageTransformer(TransformerConfig(**config["model"]))
    model.initialise()
    if config.get("from_shipped"):
        folder = UNFINISHED_DIR if config.get("unfinished") else WEIGHTS_DIR
        load_exported(model, folder / config["export_as"] / "model.safetensors")
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
        ids, states, plan, codes = (t.to(loop.device) for t in next(upcoming))
        with loop.accelerator.autocast():
            logits = forward(ids, codes.clamp_min(0), states, plan)
        of_codes, of_plan = losses(loop.model, logits, plan, codes)
        loop.backward(of_codes + config["plan_weight"] * of_plan)
        loop.scenes += len(codes)
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
    ids, states, plan, codes = batches.draw(batches.plan(loop.step))
    for text, things, layers in loop.config["lengths"]:
        shaped = (padded(ids, text), padded(codes, layers).clamp_min(0), padded(states, text),
                  padded(plan, things))
        with loop.accelerator.autocast():
            logits = forward(*(each.to(loop.device) for each in shaped))
        assert logits.plan is not None
        (logits.codes.float().sum() + logits.plan.float().sum()).backward()
    loop.model.zero_grad(set_to_none=True)


def kind_of(scene: Scene, layer: int) -> str:
    """What a layer of a scene, whose objects stand in the order of the caption, is."""
    if scene.medium in OPERATIONS:
        return "in a medium"
    if layer == 0:
        return "grounds"
    return "plain things" if scene.objects[layer - 1].colour is None else "painted things"


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
        named = [as_named(scene, order) for scene, order in zip(scenes, orders, strict=True)]
        plan = torch.tensor([to_tokens(plan_of(scene)) for scene in named]).to(loop.device)
        codes = named_first(store.codes(rows), orders).to(loop.device).clamp_min(0)
        logits = loop.ema.eval()(ids.to(loop.device), codes, states.to(loop.device), plan)
        each = layer_losses(loop.ema, logits, codes).tolist()
        for scene, of_layers in zip(named, each, strict=True):
            for layer in range(1 + len(scene.objects)):
                for kind in ("all", kind_of(scene, layer)):
                    found.setdefault(kind, []).append(of_layers[layer])
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
    where = {"folder": UNFINISHED_DIR} if loop.config.get("unfinished") else {}
    export(loop.ema, loop.config["export_as"], "dalle", config_dict(loop.ema.config), card,
           int8=loop.config.get("int8", False), **where)
    print(f"dalle: {found['all']:.3f} nats a token{by_kind} after {loop.scenes} scenes; exported",
          flush=True)
    return found["all"]


def main() -> None:
    """Command line."""
    train(parse_arguments("dalle.toml"))


if __name__ == "__main__":
    main()
