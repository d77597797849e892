"""Train the embedded DALL·E: ``python -m training.train_dalle``.

Next-code cross-entropy over the VQGAN codes of rendered scenes, a tenth of the captions dropped
for classifier-free guidance, new paraphrases at each look at a scene.

Source: Ramesh et al. (2021), section 2.2; guidance: Ho and Salimans, "Classifier-Free Diffusion
Guidance" (2022), section 3.
"""

from __future__ import annotations

import json
import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import save_image

from pipelines.models.dalle import ImageTransformer, TransformerConfig, config_dict
from pipelines.models.tokenizer import Vocabulary
from pipelines.models.vqgan import VQGAN
from pipelines.models.vqgan import build as build_vqgan
from training.codes import CodeStore
from training.data import World, prefetched
from training.export import WEIGHTS_DIR, export, load_exported
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


def load_vqgan() -> VQGAN:
    """The embedded VQGAN, frozen, in float32."""
    folder = WEIGHTS_DIR / "vqgan"
    model = build_vqgan(json.loads((folder / "config.json").read_text())["config"])
    load_exported(model, folder / "model.safetensors")
    return model.eval().requires_grad_(False)


class Batches:
    """Makes training batches of text ids and codes from a growing store."""

    def __init__(self, config: dict[str, Any], world: World, store: CodeStore) -> None:
        self.config, self.world, self.store = config, world, store
        self.vocabulary, self.at_first = Vocabulary.load(), len(store)

    def plan(self, step: int) -> tuple[list[int], Tensor]:
        """Of batch ``step`` the numbers of the scenes and the text ids (B, 16, 24 or 32) int64."""
        rng = random.Random(f"{self.config['seed']}/{step}")
        count, known = self.config["batch_size"], self._scenes(step)
        # Half of each batch from the newest scenes, so that each is seen soon and then again.
        newest = max(0, known - self.config["newest"])
        chosen = [rng.randrange(newest if k % 2 else 0, known) for k in range(count)]
        texts = []
        for i in chosen:
            dropped = rng.random() < self.config["caption_dropout"]
            salt = rng.randrange(1 << 30)
            texts.append("" if dropped else self.world.caption(self.store.sampler.sample(i), salt))
        ids = self.vocabulary(texts, context_length=self.config["model"]["text_length"])
        longest = int((ids != 0).sum(1).max())
        return chosen, ids[:, : min(ids.shape[1], -(-longest // 8) * 8)]

    def draw(self, plan: tuple[list[int], Tensor]) -> tuple[Tensor, Tensor]:
        """Text ids of a plan and the codes (B, grid, grid) int64."""
        chosen, ids = plan
        while len(self.store) <= max(chosen):
            self.store.grow()
        return ids, self.store.codes(chosen)

    def _scenes(self, step: int) -> int:
        """How many scenes there are to choose from."""
        grown = self.config["chunk"] * (1 + step // self.config["fresh_every"])
        return max(self.at_first, grown)


@torch.no_grad()
def draw(
    model: ImageTransformer, ids: Tensor, seed: int = 0, guidance: float = 3.0, top_k: int = 64
) -> Tensor:
    """Sample codes (B, grid, grid) for text ids (B, text_length) with guidance."""
    generator = torch.Generator().manual_seed(seed)
    empty = torch.zeros_like(ids)
    empty[:, 0], empty[:, 1] = 1, 2
    both, count = torch.cat([ids, empty]), len(ids)
    cache = model.new_cache(2 * count, ids.device, torch.float32)

    def choose(logits: Tensor) -> Tensor:
        mixed = logits[count:] + guidance * (logits[:count] - logits[count:])
        values, candidates = mixed.float().topk(top_k)
        picks = torch.multinomial(values.softmax(-1).cpu(), 1, generator=generator).to(
            candidates.device
        )
        return candidates.gather(1, picks).squeeze(1).repeat(2)

    hidden, blocks = model.prefill(both, cache), []
    for step in range(model.num_steps):
        blocks.append(model.sample_block(hidden, choose))
        if step + 1 < model.num_steps:
            hidden = model.step(blocks[-1], cache)
    return model.to_grid(torch.stack(blocks, 1)[:count])


def code_store(config: dict[str, Any], vqgan: VQGAN, world: World) -> CodeStore:
    """The scenes of a configuration."""
    return CodeStore(RUNS_DIR / "codes", vqgan, world, config["split"], config["chunk"],
                     kinds=config["kinds"], coloured=config["coloured"],
                     weights=config.get("weights"))


def sample_grid(model: ImageTransformer, vqgan: VQGAN, path, seed: int = 0) -> None:
    """Draw the fixed prompts and save them as one picture."""
    ids = Vocabulary.load()(list(SAMPLE_PROMPTS), context_length=model.config.text_length)
    codes = draw(model, ids.to(next(model.parameters()).device), seed)
    with torch.no_grad():
        pictures = vqgan.decode_indices(codes.to(next(vqgan.parameters()).device))
    save_image((pictures.clamp(-1, 1) + 1) / 2, path, nrow=4)


def train(config: dict[str, Any]) -> float:
    """Run or resume the training and export the averaged weights; returns held-back bits a code."""
    torch.manual_seed(config["seed"])
    model = ImageTransformer(TransformerConfig(**config["model"]))
    model.initialise()
    if config.get("from_shipped"):
        load_exported(model, WEIGHTS_DIR / "dalle" / "model.safetensors")
    loop = Loop(config, model)
    world, vqgan = World(loop.device), load_vqgan().to(loop.device)
    batches = Batches(config, world, code_store(config, vqgan, world))
    upcoming = prefetched(batches.plan, batches.draw, loop.step, config.get("workers", 0))
    forward = compiled(loop.model, config)
    for step in loop.steps():
        ids, codes = (t.to(loop.device) for t in next(upcoming))
        with loop.accelerator.autocast():
            logits = forward(ids, codes)
        loss = F.cross_entropy(logits.float().flatten(0, 2), loop.model.to_blocks(codes).flatten())
        loop.backward(loss)
        loop.scenes += len(codes)
        loop.log(loss=loss)
        if due(step, config.get("export_every", 0)):
            sample_grid(loop.ema.eval(), vqgan, loop.folder / "samples.png")
            write(loop, float(loss.detach()))
    sample_grid(loop.ema.eval(), vqgan, loop.folder / "samples.png")
    return write(loop, evaluate(loop, world, vqgan, config))


@torch.no_grad()
def evaluate(
    loop: Loop[ImageTransformer], world: World, vqgan: VQGAN, config: dict[str, Any],
    count: int = 256,
) -> float:
    """Cross-entropy in nats a code on scenes no training saw."""
    store = CodeStore(RUNS_DIR / "codes", vqgan, world, "eval-dalle", count)
    if not len(store):
        store.grow()
    vocabulary, total = Vocabulary.load(), 0.0
    for start in range(0, count, 32):
        rows = list(range(start, start + 32))
        ids = vocabulary(
            [world.caption(store.sampler.sample(i)) for i in rows],
            context_length=config["model"]["text_length"],
        ).to(loop.device)
        codes = store.codes(rows).to(loop.device)
        logits = loop.ema.eval()(ids, codes).float()
        total += float(F.cross_entropy(logits.flatten(0, 2), loop.ema.to_blocks(codes).flatten()))
    return total / (count // 32)


def write(loop: Loop[ImageTransformer], loss: float) -> float:
    """Export the averaged weights with their card."""
    millions = sum(p.numel() for p in loop.ema.parameters()) / 1e6
    card = f"""# Embedded DALL·E

One transformer over text tokens and 256 VQGAN codes, {millions:.1f} M parameters.
Trained on scenes of `pipelines/world` only.

- Command: `python -m training.train_dalle`
- Scenes seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Cross-entropy: {loss:.3f} nats a code
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(loop.ema, "dalle", "dalle", config_dict(loop.ema.config), card,
           int8=loop.config.get("int8", False))
    print(f"dalle: {loss:.3f} nats a code after {loop.scenes} scenes; weights exported", flush=True)
    return loss


def main() -> None:
    """Command line."""
    train(parse_arguments("dalle.toml"))


if __name__ == "__main__":
    main()
