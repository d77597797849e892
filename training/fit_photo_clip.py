"""Put the photographs' CLIP together: ``python -m training.fit_photo_clip`` (minutes).

The names of ImageNet's classes are embedded, a matrix is fitted by ridge regression to what they
leave of the captions of Tux Paint's stamps, those that benchmarks ask for left out, and the scale
of its logits is set. How strongly the matrix is held back, and the scale, are chosen by
cross-validation among the same stamps.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from torch import Tensor

from pipelines.core.images import resize
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.efficientnet import IMAGE_SIZE, EfficientNet
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.photo_clip import PhotoClip
from pipelines.models.pixels import to_squares
from training.export import export
from training.photographs import HELD_OUT, Captioned, stamps

CONFIG = {"width": 384, "top": 20, "temperature": 2.0, "classes_share": 0.5}
TEMPLATES = ("{}", "a photo of a {}")
FOLDS, LABELS, BATCH = 5, 10, 32
HELD_BACK = (1.0, 3.0, 10.0, 30.0)  # ridge, as a share of a tenth of the features' mean square
SCALES = tuple(float(scale) for scale in range(4, 41, 2))


@torch.no_grad()
def picture_features(image: EfficientNet, pictures: Sequence[Captioned]) -> Tensor:
    """The classifier's features (N, 1280) of pictures, squeezed as every CLIP sees them."""
    parts = []
    for start in range(0, len(pictures), BATCH):
        squares = [resize(picture.pixels(), IMAGE_SIZE, IMAGE_SIZE)
                   for picture in pictures[start:start + BATCH]]
        parts.append(image.features(to_squares(squares, IMAGE_SIZE, "cpu")))
    return torch.cat(parts)


@torch.no_grad()
def texts_of(text: SentenceEncoder, texts: Sequence[str]) -> Tensor:
    """Embeddings (N, D) of texts."""
    return torch.cat([text(texts[start:start + BATCH]) for start in range(0, len(texts), BATCH)])


def ridge(inputs: Tensor, wanted: Tensor, held_back: float) -> Tensor:
    """The matrix (D, C) that brings inputs (N, C) nearest to what is wanted (N, D)."""
    gram = inputs.t() @ inputs
    penalty = held_back * 0.1 * inputs.square().sum(1).mean()
    solved = torch.linalg.solve(gram + penalty * torch.eye(len(gram)), inputs.t() @ wanted)
    return solved.t()


def fit(clip: PhotoClip, features: Tensor, captions: Tensor, held_back: float) -> None:
    """Set the matrix of a CLIP by pictures' features (N, 1280) and captions' (N, D)."""
    directions = F.normalize(features, dim=-1)
    clip.features_mean.data = directions.mean(0)
    left = captions - clip.classes_share * clip.from_classes(features)
    clip.fitted.data = ridge(directions - clip.features_mean, left, held_back)


def looked(clip: PhotoClip, features: Tensor) -> Tensor:
    """Embeddings of pictures by their features, as ``PhotoClip.encode_image`` makes them."""
    directions = F.normalize(features, dim=-1) - clip.features_mean
    found = clip.classes_share * clip.from_classes(features)
    return F.normalize(found + directions @ clip.fitted.t(), dim=-1)


def cross_validated(clip: PhotoClip, features: Tensor, captions: Tensor, held_back: float,
                    ) -> tuple[Tensor, float]:
    """Embeddings of pictures by matrices that did not see them, and the share of right captions.

    The share is R@1 within a fold, the mean of both directions.
    """
    folds = torch.arange(len(features)) % FOLDS
    found, right = torch.empty_like(captions), []
    for fold in range(FOLDS):
        out = folds == fold
        fit(clip, features[~out], captions[~out], held_back)
        found[out] = looked(clip, features[out])
        similarities, own = found[out] @ captions[out].t(), torch.arange(int(out.sum()))
        right += [(similarities.argmax(axis) == own).float().mean() for axis in (0, 1)]
    return found, float(torch.stack(right).mean())


def best_scale(pictures: Tensor, captions: Tensor, generator: torch.Generator) -> float:
    """The logit scale at which the own caption is likeliest among ``LABELS``."""
    others = torch.randint(1, len(captions), (len(captions), LABELS - 1), generator=generator)
    own = torch.arange(len(captions))[:, None]
    labels = torch.cat([own, (own + others) % len(captions)], 1)
    similarities = (pictures[:, None] * captions[labels]).sum(-1)
    truth = torch.zeros(len(captions), dtype=torch.long)
    losses = [float(F.cross_entropy(scale * similarities, truth)) for scale in SCALES]
    return SCALES[losses.index(min(losses))]


@torch.no_grad()
def assemble(folder: Path) -> None:
    """Fit the CLIP and write it where the product loads it.

    Args:
        folder: where the packages that carry the pictures are kept.
    """
    catalogue = Catalogue.load()
    image, text = (load_model(catalogue, catalogue.get(f"embedded/{name}"))
                   for name in ("efficientnet-lite0", "minilm"))
    assert isinstance(image, EfficientNet)
    assert isinstance(text, SentenceEncoder)
    clip = PhotoClip(**CONFIG)
    clip.image, clip.text = image, text
    names = [texts_of(text, [template.format(name) for name in IMAGENET_CLASSNAMES])
             for template in TEMPLATES]
    classes = F.normalize(torch.stack(names).mean(0), dim=-1)
    clip.mean.data = classes.mean(0)
    clip.classes.data = F.normalize(classes - clip.mean, dim=-1)
    pictures = stamps(folder)[HELD_OUT:]
    features = picture_features(image, pictures)
    captions = F.normalize(texts_of(text, [p.caption for p in pictures]) - clip.mean, dim=-1)
    tried = {each: cross_validated(clip, features, captions, each) for each in HELD_BACK}
    held_back = max(tried, key=lambda each: tried[each][1])
    print({each: round(share, 4) for each, (_, share) in tried.items()})
    found, share = tried[held_back]
    scale = best_scale(found, captions, torch.Generator().manual_seed(0))
    fit(clip, features, captions, held_back)
    clip.log_scale.data = torch.tensor(math.log(scale))
    del clip.image, clip.text  # shipped once, as models of their own
    export(clip, "clip-photos", "photo_clip", CONFIG, f"""
# The photographs' CLIP

What the embedded ranker is for scenes of the world, for people's own photographs: EfficientNet-
Lite0 looks, MiniLM reads (both as they are, see their cards), what is here joins them.

- Command: `python -m training.fit_photo_clip`
- Classes: the names of ImageNet's classes, embedded by MiniLM; a picture is the mean of those of
  its {CONFIG["top"]} likeliest (ConSE, nothing trained)
- Matrix: {clip.fitted.shape[1]:,} × {clip.fitted.shape[0]}, by ridge regression
  ({held_back:g}, chosen by cross-validation) on {len(pictures)} stamps of Tux Paint with their
  captions, without the {HELD_OUT} stamps and the photographs of `python -m benchmarks photographs`.
  Right caption among about {len(pictures) // FOLDS} that a matrix did not see: {share:.2f}
- Logit scale: {scale:g}, at which it is right most among {LABELS} captions of such folds
- Cannot: read Portuguese, count, tell left from right, or know people, of whom ImageNet has next to
  none; it knows about 1,000 kinds of things and what is called like them
- Licence: Apache-2.0; the stamps are GPL-2 and not part of it, see `assets/weights/NOTICE.md`
""")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/photographs"))
    assemble(parser.parse_args().folder)
