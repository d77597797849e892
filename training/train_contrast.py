"""Train a small CLIP from nothing and keep what it says of twelve pairs at eight moments.

    python -m training.train_contrast

The softmax loss of a batch of pairs against each other, as Inside's Contrastive shows it: each
caption has to find its picture among those of the batch, and each picture its caption. After some
steps, and at the end, twelve pairs are compared that are no part of the training; the matrices are
what Contrastive plays back (``pipelines.inside.replay``). The weights stay in ``runs/``.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 2.3 and figure 3.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import CLIP
from PIL import Image
from torch import Tensor

from pipelines.inside.replay import FACTS, REPLAY_DIR, picture_name
from pipelines.models.clip import build
from pipelines.world.layouts import place
from pipelines.world.scenes import Scene, SceneSampler, styles_for
from training.data import World
from training.loop import RUNS_DIR, Loop, parse_arguments
from training.pairs import Bank, Pairs
from training.train_clip import wrap

MAX_SCALE = 100.0  # as in section 2.5 of the source
RECENT = 8  # batches whose mean is the training loss at a moment
SHOWN_PX = 96
PLACES_OF_COSINES = 4


def contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the rows and of the columns, the mean of both, in nats.

    Args:
        logits: (N, N), a row a picture, a column a caption.
        labels: (N, N), 0 where a caption says the same as the picture's own in the same words, so
            that it is not asked (``training.pairs.labels_of``).
    """
    own = torch.arange(len(logits), device=logits.device)
    asked = logits.masked_fill(labels == 0, -math.inf)
    return (F.cross_entropy(asked, own) + F.cross_entropy(asked.t(), own)) / 2


def scenes_of(pairs: Sequence[Mapping[str, Any]], sampler: SceneSampler, seed: int) -> list[Scene]:
    """A scene of each pair: its things in its colour, all else at random.

    Args:
        pairs: with ``things``, ids of concepts, and perhaps the ``colour`` of them.
        sampler: dresses things and knows what stands behind them.
        seed: of what is random.
    """
    scenes = []
    for number, pair in enumerate(pairs):
        rng, things = random.Random(f"{seed}/{number}"), list(pair["things"])
        colours = [pair.get("colour")] * len(things)
        alike = len(things) > 1 and len(set(things)) == 1
        kind = "single" if len(things) == 1 else "count" if alike else "pair"
        boxes = place(kind, None, len(things), rng)
        style = rng.choice(styles_for(things, None, any(colours), sampler.index))
        objects = sampler.dress(things, colours, boxes, style, None, rng, alike)
        scenes.append(Scene(kind, objects, None, sampler.behind(rng, kind), False, None, number))
    return scenes


@torch.no_grad()
def moment(loop: Loop[CLIP], pictures: Tensor, texts: Sequence[str], losses: Sequence[float],
           ) -> dict[str, Any]:
    """What the network says of the pairs as it stands now.

    Args:
        loop: the run.
        pictures: (N, 3, s, s) in [0, 1].
        texts: N captions.
        losses: of the last batches.

    Returns:
        A moment as ``pipelines.inside.replay`` reads it.
    """
    clip = wrap(loop.model.eval(), loop.config)
    similarities = clip.encode_text(texts) @ clip.encode_image(pictures.to(loop.device)).t()
    loop.model.train()
    rows = [[round(value, PLACES_OF_COSINES) for value in row] for row in similarities.tolist()]
    return {"step": loop.step, "pictures_seen": loop.scenes, "seconds": round(loop.seconds),
            "training_loss": round(sum(losses) / len(losses), 4),
            "temperature": round(1 / clip.logit_scale, 5), "similarities": rows}


def train(config: dict[str, Any], folder: Path = REPLAY_DIR) -> dict[str, Any]:
    """Run or resume the training and write the moments; returns what was written.

    Args:
        config: as in ``training/configs/contrast.toml``.
        folder: where the moments and the pictures of the pairs go.
    """
    torch.manual_seed(config["seed"])
    world = World()
    things = set(config["things"])
    config = config | {"weights": {c.id: 0.0 for c in world.concepts if c.id not in things}}
    pairs = Pairs(config, world, Bank(RUNS_DIR / "none.pt"))
    texts = [pair["text"] for pair in config["pairs"]]
    scenes = scenes_of(config["pairs"], world.sampler("eval-contrast"), config["pairs_seed"])
    asked = world.render(scenes, pairs.size_px)
    loop = Loop(config, build(config["model"]))
    if loop.device.type == "cpu":
        torch.backends.cuda.enable_flash_sdp(False)  # see ``train_clip``
    losses: list[float] = loop.extra.setdefault("losses", [])
    moments: list[dict[str, Any]] = loop.extra.setdefault("moments", [])
    for step in loop.steps():
        pictures, ids, labels = (t.to(loop.device) for t in pairs.batch(step))
        with loop.accelerator.autocast():
            image = F.normalize(loop.model.encode_image(2 * pictures - 1).float(), dim=-1)
            text = F.normalize(loop.model.encode_text(ids).float(), dim=-1)
        logits = image @ text.t() * loop.model.logit_scale.exp()
        loss = contrastive_loss(logits, labels)
        losses[:] = [*losses[1 - RECENT:], float(loss.detach())]
        if step in config["moments"]:
            moments.append(moment(loop, asked, texts, losses))
        loop.backward(loss)
        with torch.no_grad():
            loop.model.logit_scale.clamp_(max=math.log(MAX_SCALE))
        loop.scenes += len(pictures)
        own = torch.arange(len(logits), device=logits.device)
        loop.log(loss=loss, top1=(logits.argmax(1) == own).float().mean(),
                 temperature=1 / loop.model.logit_scale.exp())
    facts = {"batch_size": config["batch_size"], "device": loop.device.type,
             "texts": texts, "moments": [*moments, moment(loop, asked, texts, losses)]}
    write(folder, facts, world.render(scenes, SHOWN_PX))
    return facts


def write(folder: Path, facts: Mapping[str, Any], pictures: Tensor) -> None:
    """Write the moments and the pictures (N, 3, s, s) in [0, 1] of the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        pixels = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / picture_name(number), "WEBP", quality=88, method=6)
    head = json.dumps({name: value for name, value in facts.items() if name != "moments"})
    lines = ",\n".join(json.dumps(each) for each in facts["moments"])  # a moment a line
    (folder / FACTS).write_text(f'{head[:-1]}, "moments": [\n{lines}\n]}}\n')


def main() -> None:
    """Command line."""
    facts = train(parse_arguments("contrast.toml"))
    for each in facts["moments"]:
        print({name: value for name, value in each.items() if name != "similarities"})


if __name__ == "__main__":
    main()
