"""Train an embedded CLIP: ``python -m training.train_clip --config CONFIG``.

Sigmoid loss over all pictures x (captions and hard negatives) of a batch. Every caption brings
hard negatives (attributes swapped, relation reversed, count changed, ...). Some pictures are
degraded but keep their caption, some are decoded from VQGAN codes, some fit no caption at all. A
guide is trained on pictures moved against it as well: the gradients of such a network draw
shapes, where those of an ordinary one draw noise.

The guide that ships has a picture tower which is set, not trained (``training.patch_code``), and
its captions learn the embeddings of the pictures that they stand for.

Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023), section 3;
adversarial training: ``training.attack``.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor

from pipelines.models.clip import ClipModel, build
from pipelines.vocabulary import Vocabulary
from training.attack import PictureLoss, attacked
from training.data import World, prefetched
from training.degrade import degrade, meaningless, scrambled
from training.denoise import pull_loss
from training.drafts import Drafts
from training.export import WEIGHTS_DIR, export, keep_share, load_exported
from training.loop import RUNS_DIR, Loop, compiled, due, parse_arguments
from training.patch_code import begin_as_patch_code
from training.world.hard_negatives import hard_negative, other_medium
from training.world.scenes import Scene

STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ADVERSARIAL_RAMP = 0.3  # share of the run in which the attack grows to its full radius
ABOUT = "An open_clip model trained with the sigmoid loss on scenes of `training/world` only."
Plan = tuple[int, list[Scene], list[int], Tensor]
Batch = tuple[Tensor, Tensor, Tensor]


class Bank:
    """Pictures decoded from VQGAN codes with their scenes, drawn once by ``training.make_bank``.

    Args:
        path: the file of ``training.make_bank``; a missing file is an empty bank.
    """

    def __init__(self, path: Path) -> None:
        self.pictures = self.broken = torch.zeros(0, 3, 128, 128, dtype=torch.uint8)
        self.seeds: list[int] = []
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.pictures, self.broken, self.seeds = (
                state["pictures"],
                state["broken"],
                state["seeds"],
            )


class Pairs:
    """Makes training batches: pictures, text ids, and which texts are true of which picture."""

    def __init__(self, config: dict[str, Any], world: World, bank: Bank) -> None:
        self.config, self.world, self.bank = config, world, bank
        named = ("kinds", "coloured", "in_medium", "weights")
        self.sampler = world.sampler(config["split"], jitter=config["jitter"],
                                     **{name: config[name] for name in named if name in config})
        self.bank_sampler = world.sampler("train-bank", jitter=0.25)
        self.vocabulary = Vocabulary.load()
        self.size_px = config["model"]["vision_cfg"]["image_size"]

    def plan(self, step: int) -> Plan:
        """Of batch ``step`` a seed, scenes to draw, numbers of pictures of the bank, and ids."""
        config, count = self.config, self.config["batch_size"]
        rng = random.Random(f"{config['seed']}/{step}")
        reused = rng.sample(
            range(len(self.bank.seeds)),
            min(len(self.bank.seeds), round(count * config["reconstructed"])),
        )
        scenes = [self.sampler.sample(step * count + k) for k in range(count - len(reused))]
        all_scenes = scenes + [self.bank_sampler.sample(self.bank.seeds[i]) for i in reused]
        ids = self.vocabulary(self._texts(all_scenes, rng), context_length=32)
        return config["seed"] * 1_000_003 + step, scenes, reused, ids

    def draw(self, plan: Plan) -> Batch:
        """The batch of a plan: pictures (B + U, 3, s, s) in [0, 1], ids (B + K B, 32), labels.

        The K hard negatives of each caption follow all captions.
        """
        seed, scenes, reused, ids = plan
        count, device = len(scenes) + len(reused), self.world.device
        generator = self.world.generator(seed)
        pictures = self.world.render(scenes, self.size_px)
        chosen = torch.rand(len(pictures), generator=generator, device=device)
        touched = chosen < self.config["degraded"]
        if touched.any():
            pictures[touched] = degrade(pictures[touched], generator)
        if reused:
            seen_before = self._sized(self.bank.pictures[reused].to(device))
            pictures = torch.cat([pictures, seen_before])
        extra = round(count * self.config["uncaptioned"])
        pictures = torch.cat([pictures, self._uncaptioned(pictures, extra, generator)])
        return pictures, ids, labels_of(ids, count, extra, self.config.get("group", count))

    def batch(self, step: int) -> Batch:
        """Batch ``step``."""
        return self.draw(self.plan(step))

    def _sized(self, pictures: Tensor) -> Tensor:
        """Pictures of the bank (N, 3, 128, 128) uint8 at the size that the CLIP sees, in [0, 1]."""
        size = (self.size_px, self.size_px)
        pictures = pictures.float() / 255
        return F.interpolate(pictures, size, mode="bilinear", antialias=True).clamp(0, 1)

    def _uncaptioned(self, pictures: Tensor, count: int, generator: torch.Generator) -> Tensor:
        third = count // 3
        parts = [
            meaningless(count - 2 * third, self.size_px, generator),
            scrambled(pictures[:third], generator),
        ]
        broken = self.bank.broken
        if len(broken):
            picks = torch.randint(len(broken), (third,), generator=generator,
                                  device=generator.device)
            parts.append(self._sized(broken[picks.cpu()].to(generator.device)))
        else:
            parts.append(scrambled(pictures[-third:] if third else pictures[:0], generator, 8))
        return torch.cat(parts)

    def _texts(self, scenes: list[Scene], rng: random.Random) -> list[str]:
        captions = []
        negatives: list[list[str]] = [[] for _ in range(self.config.get("negatives", 1))]
        other_media = self.config.get("other_media", 0.0)
        for scene in scenes:
            language = "pt" if rng.random() < 0.12 else "en"
            salt = rng.randrange(1 << 30)
            captions.append(self.world.caption(scene, salt, language))
            for group in negatives:
                if scene.medium is not None and other_media and rng.random() < other_media:
                    wrong = other_medium(scene, rng)
                else:
                    wrong = hard_negative(scene, rng, self.world.by_id)
                group.append(self.world.caption(wrong, salt + rng.randint(0, 1), language))
        return captions + [text for group in negatives for text in group]


def labels_of(ids: Tensor, count: int, extra: int, group: int) -> Tensor:
    """Which texts are true of which pictures.

    Pictures are compared with the captions of their own group only: of a thousand scenes many have
    captions that are true of each other. So are captions which say the same in the same words.

    Args:
        ids: (T, L) int64: ``count`` captions, and after them as many hard negatives, once or more.
        count: pictures with a caption.
        extra: pictures after them without one.
        group: pictures of a group; it divides ``count``.

    Returns:
        (count + extra, T) float32: 1 where a text is true, -1 where it is not, 0 where that is not
        asked.
    """
    weights = torch.randint(1 << 40, (ids.shape[1],), generator=torch.Generator().manual_seed(0))
    keys, place = (ids * weights).sum(1), torch.arange(len(ids)) % count // group
    own = torch.arange(count)
    labels = torch.full((count + extra, len(ids)), -1.0)
    unasked = (place[None] != place[:count, None]) | (keys[None] == keys[:count, None])
    labels[:count].masked_fill_(unasked, 0.0)
    labels[own, own] = 1.0
    return labels


def recall_loss(text: Tensor, finished: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """How far captions are from the embeddings of the pictures that they stand for.

    Args:
        text: (B, D) unit features of captions.
        finished: (B, D) unit features of their pictures.
        plain: (D,) unit features of a white field, where a run begins.

    Returns:
        The loss: half of it by cosines, half by those of what is missing from the plain field; and
        the mean of the latter, detached.
    """
    asked, missing = (x - (x @ plain)[:, None] * plain for x in (text, finished))
    cosines = F.cosine_similarity(asked, missing)
    straight = (text * finished).sum(1)
    return (2 - cosines - straight).mean() / 2, cosines.detach().mean()


@torch.no_grad()
def evaluate(clip: ClipModel, world: World, count: int = 1000) -> dict[str, float]:
    """Figures on unseen scenes: the right one of 2 hard captions, and of 100 random ones."""
    sampler, rng = world.sampler("eval-clip", held_out=True), random.Random(5)
    scenes = [sampler.sample(i) for i in range(count)]
    true = [world.caption(s, 1, "en") for s in scenes]
    false = [world.caption(hard_negative(s, rng, world.by_id), 1, "en") for s in scenes]
    pictures = torch.cat(
        [
            clip.encode_image(world.render(scenes[i : i + 50], clip.image_size))
            for i in range(0, count, 50)
        ]
    )
    right, wrong = clip.encode_text(true), clip.encode_text(false)
    hard = ((pictures * right).sum(1) > (pictures * wrong).sum(1)).float().mean()
    own = torch.arange(100, device=pictures.device)
    top = [
        (pictures[i : i + 100] @ right[i : i + 100].t()).argmax(1) == own
        for i in range(0, count - 99, 100)
    ]
    return {"hard_pairs": float(hard), "top1_of_100": float(torch.cat(top).float().mean())}


def wrap(module: CLIP, config: dict[str, Any]) -> ClipModel:
    """The module with the embedded tokenizer, ready to compare texts with pictures."""
    size = config["model"]["vision_cfg"]["image_size"]
    return ClipModel(module, Vocabulary.load(), size, *STATISTICS)


def train(config: dict[str, Any]) -> dict[str, float]:
    """Run or resume the training and export the averaged weights; returns the figures."""
    torch.manual_seed(config["seed"])
    module = build(config["model"])
    world = World("cuda" if torch.cuda.is_available() else "cpu")
    pairs = Pairs(config, world, Bank(RUNS_DIR / "bank.pt"))
    drafts = None
    if config.get("denoise") or config.get("recall"):
        drafts = Drafts(config, world, pairs.size_px)
    if config.get("from_shipped"):
        load_exported(module, WEIGHTS_DIR / config["name"] / "model.safetensors")
    if config.get("patch_code") and drafts is not None:
        visual: Any = module.visual
        if not config.get("from_shipped"):
            begin_as_patch_code(visual, drafts.finished(config["patch_code"])[0].cpu())
        module.visual.requires_grad_(not config["pictures_fixed"])
    loop = Loop(config, module)
    if loop.device.type == "cpu":
        # The backward pass of the fused kernel took half of a step here.
        torch.backends.cuda.enable_flash_sdp(False)
    clip, (mean, std) = loop.model, (STATISTICS[0][0], STATISTICS[1][0])

    def encode_plainly(pictures: Tensor) -> Tensor:
        return clip.encode_image((pictures - mean) / std)

    encode_image = compiled(encode_plainly, config)
    encode_text = compiled(clip.encode_text, config)
    batches = prefetched(
        lambda i: (pairs.plan(i), drafts.plan(i) if drafts else None),
        lambda plan: (pairs.draw(plan[0]), drafts.draw(plan[1]) if drafts and plan[1] else None),
        loop.step, config.get("workers", 0))
    white = torch.ones(1, 3, pairs.size_px, pairs.size_px, device=loop.device)
    for step in loop.steps():
        pair, draft = next(batches)
        pictures, ids, labels = (t.to(loop.device) for t in pair)
        with loop.accelerator.autocast():
            text = F.normalize(encode_text(ids).float(), dim=-1)
        loss_of = PictureLoss(clip, encode_image, text, labels)
        radius = config.get("adversarial", 0.0) * min(1.0, loop.progress / ADVERSARIAL_RAMP)
        if radius:
            half = len(pictures) // 2
            moved = attacked(pictures[:half], loss_of.against(half), radius,
                             loop.accelerator.autocast)
            pictures = torch.cat([moved, pictures[half:]])
        with loop.accelerator.autocast():
            loss, logits = loss_of(pictures)
        loss, measured = loss * config.get("pair_weight", 1.0), {}
        if drafts is not None and draft is not None:
            taken_back, (pictures, said) = draft
            if len(pictures):
                pictures, said = pictures.to(loop.device), said.to(loop.device)
                with loop.accelerator.autocast():
                    text = F.normalize(encode_text(said).float(), dim=-1)
                    # Of a fixed tower; one that learns must not come to the captions instead.
                    with torch.no_grad():
                        seen = [F.normalize(encode_plainly(x).float(), dim=-1)
                                for x in (pictures, white)]
                recall, measured["recall"] = recall_loss(text, seen[0], seen[1][0])
                loss = loss + config["recall_weight"] * recall
            if len(taken_back[0]):
                begun, finished, said = (part.to(loop.device) for part in taken_back)
                with loop.accelerator.autocast():
                    text = F.normalize(encode_text(said).float(), dim=-1)
                    pull, measured["pull"] = pull_loss(begun, finished, text, encode_plainly)
                loss = loss + config["denoise_weight"] * pull
        loop.backward(loss)
        loop.scenes += config["batch_size"]
        with torch.no_grad():
            count = config["batch_size"]
            diagonal = logits[:count, :count].diagonal()
            hard = (diagonal > logits[:count, count : 2 * count].diagonal()).float().mean()
            top = (
                (logits[:count, :count].argmax(1) == torch.arange(count, device=logits.device))
                .float()
                .mean()
            )
        loop.log(loss=loss, hard=hard, top1=top, **measured)
        if due(step, config.get("evaluate_every", 500)):
            print(evaluate(wrap(loop.ema.eval(), config), world, 300), flush=True)
        if due(step, config.get("export_every", 0)):
            finish(loop, world, config)
    return finish(loop, world, config)


def finish(loop: Loop[CLIP], world: World, config: dict[str, Any]) -> dict[str, float]:
    """Evaluate the averaged weights and export them with their card.

    With ``keep_shipped`` in the configuration, that share of the shipped weights is kept.
    """
    module = loop.ema.eval()
    if share := config.get("keep_shipped", 0.0):
        module = copy.deepcopy(module)
        keep_share(module, WEIGHTS_DIR / config["name"] / "model.safetensors", share)
    figures = evaluate(wrap(module, config), world)
    role = config["name"].removeprefix("clip-")
    card = f"""# Embedded CLIP ({role})

{config.get("about", ABOUT).strip()}

- Command: `python -m training.train_clip --config training/configs/clip_{role}.toml`
- Pairs seen: {loop.scenes}; training time: {loop.seconds / 60:.0f} minutes on {loop.device.type}
- Right caption of 2 hard ones: {figures["hard_pairs"]:.3f}
- Right caption of 100 random ones: {figures["top1_of_100"]:.3f}
- Licence: Apache-2.0; the art it was trained on is listed in `assets/world/NOTICE.md`
"""
    export(
        module,
        config["name"],
        "clip",
        {**config["model"], "mean": STATISTICS[0], "std": STATISTICS[1]},
        card,
        int8=config.get("int8", False),
    )
    print(f"{config['name']}: {figures}; weights exported")
    return figures


def main() -> None:
    """Command line."""
    train(parse_arguments("clip_ranker.toml"))


if __name__ == "__main__":
    main()
