"""Do variations of a picture show what the picture shows, and how much do pictures differ?"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.controls import JudgeFunction, RenderFunction
from benchmarks.pictures import prompt_seed
from benchmarks.scoring import score
from benchmarks.tasks import TaskPrompt, scene_of
from easel.serving.interface import Backend
from pipelines.core.events import Result
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import image_features
from pipelines.models.pixels import to_uint8
from pipelines.world.concepts import Concept

PICTURES_A_PROMPT = 4
# The embedding alone is told, so that the prompt cannot help; it is there for the ranking.
FROM_THE_PICTURE = {"tell_caption": False}


def pairwise_distance(features: Tensor) -> float:
    """Mean cosine distance between unit-length features (N, D), N at least 2, range [0, 2]."""
    cosines = features @ features.t()
    count = len(features)
    return float(1 - (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


def diversity(pictures: Sequence[np.ndarray], clip: ClipModel) -> float | None:
    """Mean distance between the pictures of one prompt, as the ranker sees them.

    Args:
        pictures: one array (N, H, W, 3) uint8 RGB a prompt; of more than four the first four
            count, and prompts with a single one do not.
        clip: the ranker.

    Returns:
        None where no prompt has two pictures.
    """
    distances = [pairwise_distance(image_features(clip, list(images[:PICTURES_A_PROMPT])))
                 for images in pictures if len(images) > 1]
    return sum(distances) / len(distances) if distances else None


def variations(name: str, backend: Backend, prompts: Sequence[TaskPrompt],
               render: RenderFunction, judge: JudgeFunction, concepts: Mapping[str, Concept],
               options: Mapping[str, Any] = FROM_THE_PICTURE) -> dict[str, float | int]:
    """Share of variations that keep the object of their picture.

    Args:
        name: a pipeline that starts from pictures.
        backend: where it runs.
        prompts: of one object each; a true render of each is varied once.
        render: scenes to pictures (B, 3, H, W) float in [0, 1].
        judge: pictures to verdicts.
        concepts: by id.
        options: of the pipeline.

    Returns:
        "kept", the share among pictures whose object the judge sees, and "pictures", how many.
    """
    kept = seen = 0
    for prompt in prompts:
        picture = to_uint8(render([scene_of(prompt)]) * 2 - 1)[0]
        if not score(prompt, judge(torch.from_numpy(picture[None]))[0], concepts).correct:
            continue
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        request = {"pipeline": name, "prompt": prompt.text, "num_images": 1,
                   "seed": prompt_seed(prompt), "options": dict(options),
                   "init_image": file.getvalue()}
        events = backend.stream(backend.registry.check(request))
        result = [e for e in events if isinstance(e, Result)][-1]
        drawn = torch.from_numpy(result.candidates[0].image[None].copy())
        seen += 1
        kept += score(prompt, judge(drawn)[0], concepts).correct
    return {"kept": kept / seen if seen else 0.0, "pictures": seen}
