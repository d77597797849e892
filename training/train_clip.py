"""Train an embedded CLIP: ``python -m training.train_clip --config CONFIG``.

Sigmoid loss over all pictures x (captions and hard negatives) of a batch (``training.pairs``). A
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
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.clip import ClipModel, build
from pipelines.world.hard_negatives import hard_negative
from training.attack import PictureLoss, attacked
from training.data import World, prefetched
from training.denoise import pull_loss
from training.drafts import Drafts
from training.export import WEIGHTS_DIR, export, keep_share, load_exported
from training.loop import RUNS_DIR, Loop, compiled, due, parse_arguments
from training.pairs import Bank, Pairs
from training.patch_code import begin_as_patch_code

STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ADVERSARIAL_RAMP = 0.3  # share of the run in which the attack grows to its full radius
ABOUT = "An open_clip model trained with the sigmoid loss on scenes of `pipelines/world` only."


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
    return ClipModel(module, load_vocabulary(), size, *STATISTICS)


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
        load_exported(module, WEIGHTS_DIR / config["name"] / "model.safetensors",
                      optional="cells.")
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
    train(parse_arguments("clip_guide.toml"))


if __name__ == "__main__":
    main()
