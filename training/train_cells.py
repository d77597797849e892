"""Train the cell tower of the guide: ``python -m training.train_cells``.

The rest of the guide stays as ``training.train_clip`` left it: a picture tower that is a code of
patches, and a text tower whose captions come near the embeddings of the pictures that they stand
for. The cell tower brings them nearer (``pipelines.models.clip_cells``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.clip import build
from pipelines.models.clip_cells import CellCLIP
from training.data import World, prefetched
from training.drafts import Drafts, Plan
from training.export import WEIGHTS_DIR, export, load_exported
from training.loop import Loop, compiled, due, parse_arguments
from training.train_clip import STATISTICS, evaluate, recall_loss, wrap

FOLDER = WEIGHTS_DIR / "clip-guide"
PLAIN_SHARE = 0.15  # how often a plain cell is chosen, beside one that is as far off as usual


def with_model(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the ``model`` that ships and the cell tower's shape in it."""
    shipped = json.loads((FOLDER / "config.json").read_text())["config"]
    return {**config, "model": {**shipped, "cells": config["cells"]}}


def informative(finished: Tensor, plain: Tensor, count: int) -> Tensor:
    """Choose cells to train on, mostly such as show something.

    Args:
        finished: (B, C, N) cells of pictures.
        plain: (C, N), cells of a white field.
        count: how many of each picture, K.

    Returns:
        (B, K) int64, none twice.
    """
    shown = (finished - plain).norm(dim=-1)
    return (shown + PLAIN_SHARE * shown.mean()).multinomial(count)


def train(config: dict[str, Any]) -> dict[str, float]:
    """Run or resume the training and export the averaged weights; returns the figures."""
    torch.manual_seed(config["seed"])
    config = with_model(config)
    module = cast(CellCLIP, build(config["model"]))
    load_exported(module, FOLDER / "model.safetensors", optional="cells.")
    module.requires_grad_(False).cells.requires_grad_(True)
    loop = Loop({**config, "name": config["run"]}, module)
    clip, world = loop.model, World(loop.device)
    drafts = Drafts(config, world, config["model"]["vision_cfg"]["image_size"])

    @torch.no_grad()
    def cells_of(pictures: Tensor) -> Tensor:
        mean, std = STATISTICS[0][0], STATISTICS[1][0]
        with loop.accelerator.autocast():
            seen = [clip.encode_image((part - mean) / std) for part in pictures.split(512)]
        return clip.cells.cells_of(torch.cat(seen).float())

    @torch.no_grad()
    def draw(plan: Plan) -> tuple[Tensor, ...]:
        pictures, ids = drafts.draw(plan)[1]
        with loop.accelerator.autocast():
            return (cells_of(pictures), *clip.read(ids.to(loop.device)))

    plain = cells_of(torch.ones(1, 3, drafts.size_px, drafts.size_px, device=loop.device))[0]
    refine = compiled(clip.cells.forward, config)
    batches = prefetched(drafts.plan, draw, loop.step, config.get("workers", 0))
    for step in loop.steps():
        finished, *condition = next(batches)
        chosen = informative(finished, plain, config["chosen"])
        with loop.accelerator.autocast():
            refined = refine(*condition, chosen).float()
        own = chosen[..., None].expand_as(refined)
        target = finished.gather(1, own)
        loss = F.mse_loss(refined, target)
        loop.backward(loss)
        loop.scenes += len(finished)
        loop.log(config.get("log_every", 50), missing=loss,
                 before=F.mse_loss(condition[0].gather(1, own), target))
        if due(step, config.get("evaluate_every", 0)):
            print(recall(loop.ema.eval(), drafts, cells_of, plain), flush=True)
    figures = recall(loop.ema.eval(), drafts, cells_of, plain)
    return write(loop, world, config, figures)


@torch.no_grad()
def recall(clip: CellCLIP, drafts: Drafts, cells_of: Callable[[Tensor], Tensor], plain: Tensor,
           ) -> dict[str, float]:
    """Cosines of what is missing (``recall_loss``), without the cell tower and with it.

    Of captions that the training has not reached.
    """
    pictures, ids = drafts.batch(1 << 24)[1]
    finished = F.normalize(cells_of(pictures).flatten(1), dim=-1)
    condition = clip.read(ids.to(finished.device))
    figures = {}
    for name, cells in (("without", condition[0]), ("with", clip.cells(*condition))):
        text = F.normalize(cells.flatten(1), dim=-1)
        figures[name] = float(recall_loss(text, finished, F.normalize(plain.flatten(), dim=0))[1])
    return figures


def write(loop: Loop[CellCLIP], world: World, config: dict[str, Any], recalled: dict[str, float],
          ) -> dict[str, float]:
    """Evaluate the averaged weights, export them and say in the card what the tower brings."""
    figures = evaluate(wrap(loop.ema.eval(), config), world)
    millions = sum(p.numel() for p in loop.ema.cells.parameters()) / 1e6
    text = (FOLDER / "README.md").read_text().split("\n## Cell tower")[0].strip()
    card = f"""{text}

## Cell tower

Behind the text tower each cell of the picture asks the caption what it shows
(`pipelines/models/clip_cells.py`), {millions:.1f} M parameters.

- Command: `python -m training.train_cells`
- Captions seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Cosine between what captions ask of a plain field and what is missing there, on unseen scenes:
  {recalled["with"]:.3f}, without the tower {recalled["without"]:.3f}
- Right caption of 2 hard ones: {figures["hard_pairs"]:.3f}
- Right caption of 100 random ones: {figures["top1_of_100"]:.3f}
"""
    export(loop.ema, config["name"], "clip", config["model"], card, int8=config.get("int8", False))
    print(f"{config['name']}: {recalled} {figures}; weights exported", flush=True)
    return recalled | figures


def main() -> None:
    """Command line."""
    train(parse_arguments("cells.toml"))


if __name__ == "__main__":
    main()
