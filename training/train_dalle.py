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
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import save_image

from pipelines.dalle import DalleOptions, begin, draw_codes, write_block
from pipelines.models.dalle import PAD_ID, ImageTransformer, Logits, TransformerConfig, config_dict
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.spot_positions import chosen_blocks
from pipelines.models.vqgan import VQGAN
from pipelines.models.vqgan import build as build_vqgan
from pipelines.world.plans import plan_of, to_tokens
from training.codes import CodeStore
from training.data import World, prefetched
from training.export import UNFINISHED_DIR, WEIGHTS_DIR, export, load_exported
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


@torch.no_grad()
def read(encoder: SentenceEncoder, texts: list[str], most: int,
         whole: bool = False) -> tuple[Tensor, Tensor]:
    """Ids (B, T) and states (B, T, width) of captions, T a multiple of 8 and at most ``most``;
    with ``whole`` always ``most``, as a compiled network is compiled anew for each length."""
    with fast_autocast(encoder.device):
        ids, states = encoder.read(texts, most)
    length = most if whole else min(most, -(-ids.shape[1] // 8) * 8)
    missing = length - ids.shape[1]
    return F.pad(ids, (0, missing)), F.pad(states.float(), (0, 0, 0, missing))


# Of a scene its number, caption and plan.
Row = tuple[int, str, list[int]]


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
        self.encoder, self.at_first = encoder, len(store)
        self._sorted: tuple[int, list[list[Row]]] = -1, []

    def plan(self, step: int) -> tuple[list[int], list[str], list[list[int]]]:
        """Of batch ``step`` the numbers of the scenes, their captions and plans.

        So many batches as ``sorted_over`` says are drawn at once and share their scenes by the
        length of caption and plan: little of a batch is padding then.
        """
        together = self.config.get("sorted_over", 1)
        group = step // together
        if self._sorted[0] != group:
            rows = [row for k in range(together) for row in self._rows(group * together + k)]
            rows.sort(key=lambda row: len(row[1].split()) + sum(id != PAD_ID for id in row[2]))
            size = self.config["batch_size"]
            batches = [rows[i : i + size] for i in range(0, len(rows), size)]
            random.Random(f"{self.config['seed']}/{group}/order").shuffle(batches)
            self._sorted = group, batches
        chosen, texts, plans = zip(*self._sorted[1][step % together], strict=True)
        return list(chosen), list(texts), list(plans)

    def _rows(self, step: int) -> list[Row]:
        rng = random.Random(f"{self.config['seed']}/{step}")
        count, known = self.config["batch_size"], self._scenes(step)
        # Half of each batch from the newest scenes, so that each is seen soon and then again.
        newest = max(0, known - self.config["newest"])
        chosen = [rng.randrange(newest if k % 2 else 0, known) for k in range(count)]
        texts, plans = [], []
        for i in chosen:
            scene = self.store.sampler.sample(i)
            dropped = rng.random() < self.config["caption_dropout"]
            salt = rng.randrange(1 << 30)
            texts.append("" if dropped else self.world.caption(scene, salt))
            plans.append(to_tokens(plan_of(scene)))
        return list(zip(chosen, texts, plans, strict=True))

    def draw(self, plan: tuple[list[int], list[str], list[list[int]]]) -> tuple[Tensor, ...]:
        """Text ids and states, plans, and codes (B, grid, grid); texts and plans without what is
        padding in all, unless the network is compiled."""
        chosen, texts, plans = plan
        whole = self.config.get("compile", False)
        while len(self.store) <= max(chosen):
            self.store.grow()
        tokens = torch.tensor(plans)
        if not whole:
            tokens = tokens[:, : int((tokens != PAD_ID).sum(1).max())]
        ids, states = read(self.encoder, texts, self.config["model"]["text_length"], whole)
        return ids, states, tokens, self.store.codes(chosen)

    def _scenes(self, step: int) -> int:
        """How many scenes there are to choose from."""
        grown = self.config["chunk"] * (1 + step // self.config["fresh_every"])
        return max(self.at_first, grown)


def losses(model: ImageTransformer, logits: Logits, plan: Tensor, codes: Tensor,
           kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the codes' tokens and of the plan's, in nats.

    Args:
        model: knows how codes are spelt.
        logits: of the model.
        plan: (B, P) int64; the padding that ends one counts once.
        codes: (B, grid, grid) int64.
        kept: as for the model's ``forward``.
    """
    blocks = model.to_blocks(codes)
    if kept is not None:
        blocks = blocks.gather(1, kept[..., None].expand(-1, -1, model.block_codes))
    of_codes = F.cross_entropy(logits.codes.float().flatten(0, 2), blocks.flatten())
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
        for _ in range(model.num_steps):
            write_block(model, writing, options)
        pictures.append(draw_codes(model, vqgan, writing.blocks))
    return torch.cat(pictures)


def code_store(config: dict[str, Any], vqgan: VQGAN, world: World) -> CodeStore:
    """The scenes of a configuration."""
    return CodeStore(RUNS_DIR / "codes", vqgan, world, config["split"], config["chunk"],
                     layered=config.get("layered", False), kinds=config["kinds"],
                     coloured=config["coloured"], blocks=config.get("on_blocks", False),
                     weights=config.get("weights"))


def sample_grid(model: ImageTransformer, vqgan: VQGAN, encoder: SentenceEncoder, path,
                seed: int = 0) -> None:
    """Draw the fixed prompts and save them as one picture."""
    pictures = draw(model, vqgan, encoder, list(SAMPLE_PROMPTS), seed)
    save_image((pictures.clamp(-1, 1) + 1) / 2, path, nrow=4)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns nats a token of codes."""
    torch.manual_seed(config["seed"])
    model = ImageTransformer(TransformerConfig(**config["model"]))
    model.initialise()
    if config.get("from_shipped"):
        folder = UNFINISHED_DIR if config.get("unfinished") else WEIGHTS_DIR
        load_exported(model, folder / config["export_as"] / "model.safetensors")
    loop = Loop(config, model)
    world, vqgan = World(loop.device), load_vqgan(config["vqgan"]).to(loop.device)
    encoder = load_encoder(loop.device)
    batches = Batches(config, world, code_store(config, vqgan, world), encoder)
    forward = compiled(loop.model, config)
    chance = torch.Generator().manual_seed(config["seed"] + loop.step)
    if config.get("compile"):
        trace(loop, forward, batches)
    upcoming = prefetched(batches.plan, batches.draw, loop.step, config.get("workers", 0))
    for step in loop.steps():
        ids, states, plan, codes = (t.to(loop.device) for t in next(upcoming))
        kept = None
        if not due(step, config["whole_every"]):
            kept = chosen_blocks(loop.model.spot_positions.covers(plan), config["blocks"], chance)
        with loop.accelerator.autocast():
            logits = forward(ids, codes, states, plan, kept)
        of_codes, of_plan = losses(loop.model, logits, plan, codes, kept)
        loop.backward(of_codes + config["plan_weight"] * of_plan)
        loop.scenes += len(codes)
        loop.log(codes=of_codes, plan=of_plan)
        if due(step, config.get("export_every", 0)):
            sample_grid(loop.ema.eval(), vqgan, encoder, loop.folder / "samples.png")
            write(loop, float(of_codes.detach()))
    sample_grid(loop.ema.eval(), vqgan, encoder, loop.folder / "samples.png")
    return write(loop, evaluate(loop, world, vqgan, encoder, config))


def trace(loop: Loop[ImageTransformer], forward: Callable[..., Logits], batches: Batches) -> None:
    """Have the network compiled for the two shapes of step before another thread draws batches.

    Tracing holds the interpreter's lock and asks for that of autocast's cache; a thread that
    leaves autocast holds that one and asks for the interpreter's, and both wait for ever.
    """
    batch = batches.draw(batches.plan(loop.step))
    ids, states, plan, codes = (t.to(loop.device) for t in batch)
    chosen = chosen_blocks(loop.model.spot_positions.covers(plan), loop.config["blocks"],
                           torch.Generator().manual_seed(0))
    for kept in (chosen, None):
        with loop.accelerator.autocast():
            logits = forward(ids, codes, states, plan, kept)
        of_codes, of_plan = losses(loop.model, logits, plan, codes, kept)
        (of_codes + of_plan).backward()
    loop.model.zero_grad(set_to_none=True)


@torch.no_grad()
def evaluate(loop: Loop[ImageTransformer], world: World, vqgan: VQGAN, encoder: SentenceEncoder,
             config: dict[str, Any], count: int = 256) -> float:
    """Cross-entropy in nats a token of the codes of whole scenes that no training saw."""
    store, total = CodeStore(RUNS_DIR / "codes", vqgan, world, "eval-dalle", count,
                             layered=config.get("layered", False),
                             blocks=config.get("on_blocks", False)), 0.0
    if not len(store):
        store.grow()
    for start in range(0, count, 32):
        rows = list(range(start, start + 32))
        scenes = [store.sampler.sample(i) for i in rows]
        ids, states = read(encoder, [world.caption(scene) for scene in scenes],
                           config["model"]["text_length"])
        plan = torch.tensor([to_tokens(plan_of(scene)) for scene in scenes]).to(loop.device)
        codes = store.codes(rows).to(loop.device)
        logits = loop.ema.eval()(ids.to(loop.device), codes, states.to(loop.device), plan)
        total += float(losses(loop.ema, logits, plan, codes, None)[0])
    return total / (count // 32)


def write(loop: Loop[ImageTransformer], loss: float) -> float:
    """Export the averaged weights with their card."""
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    card = f"""# Embedded DALL·E

One transformer over text tokens, a plan and 256 VQGAN codes, {millions:.1f} M parameters;
the text is also read by the embedded sentence encoder. Trained on scenes of `pipelines/world` only.

- Command: `python -m training.train_dalle`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Cross-entropy: {loss:.3f} nats a token, of which two spell a code
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    where = {"folder": UNFINISHED_DIR} if loop.config.get("unfinished") else {}
    export(loop.ema, loop.config["export_as"], "dalle", config_dict(loop.ema.config), card,
           int8=loop.config.get("int8", False), **where)
    print(f"dalle: {loss:.3f} nats a token after {loop.scenes} scenes; exported", flush=True)
    return loss


def main() -> None:
    """Command line."""
    train(parse_arguments("dalle.toml"))


if __name__ == "__main__":
    main()
