"""The engine in four functions for programs and notebooks, with pictures of Pillow in and out.

They run in the caller's thread; models are loaded once a process, by the ``EASEL_*`` settings. The
application has a queue, Stop and a history on top: ``easel.serving``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.core.errors import EaselError, InvalidImage, InvalidRequest
from pipelines.core.events import Event, Result
from pipelines.core.image_faults import UNREADABLE
from pipelines.core.images import check_size, rgb_of
from pipelines.core.metadata import png_of, write_png
from pipelines.core.request import CheckedRequest
from pipelines.engine import Engine, process_engine
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.rerank import probabilities, ranking_order, similarities, weighted_scores
from pipelines.weighted_prompts import ranking_texts
from pipelines.zero_shot import check_labels, check_templates, class_features, class_texts
from pipelines.zero_shot import classify as classify_features

Pane = str | tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished picture.

    Attributes:
        image: mode RGB.
        seed: draws it again, alone.
        scores: by name; "clip" is the ranker's cosine similarity with the prompt.
        generator: who drew it.
        prompt: of what.
        png: its file, which holds all that it takes to draw it again.
    """

    image: Image.Image
    seed: int
    scores: Mapping[str, float]
    generator: str
    prompt: str
    png: bytes

    def save(self, path: str | Path) -> Path:
        """Write the file; returns its path, with a number where there was one of that name.

        Raises:
            InvalidRequest: the name is that of another kind of file.
            EaselError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in ("", ".png"):
            raise InvalidRequest("A picture is saved as PNG, not {}: name it so, or save its "
                                 "image.", path.suffix[:20], field="path")
        return write_png(path, self.png)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one generator of a comparison made of the prompt.

    Attributes:
        generator: its name.
        options: all of its options, as they were used.
        pictures: best first; empty where ``error`` says why.
        elapsed_s: seconds that the run took.
        error: what ended it; None where nothing did.
    """

    generator: str
    options: Mapping[str, Any]
    pictures: tuple[Picture, ...]
    elapsed_s: float
    error: EaselError | None = None


@dataclass(frozen=True, eq=False)
class Ranked:
    """A picture in its place.

    Attributes:
        image: as it was given.
        index: where it was given.
        score: cosine similarity with the prompt, [-1, 1]; of several texts their weighted mean.
        probability: its share, were one of the pictures the prompt's own.
    """

    image: Image.Image
    index: int
    score: float
    probability: float


@dataclass(frozen=True)
class Classified:
    """What a picture shows.

    Attributes:
        label: the likeliest.
        probability: of that one.
        probabilities: of every label, the likeliest first.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]


def draw(prompt: str, generator: str = "", *, num_images: int | None = None,
         seed: int | None = None, init_image: Image.Image | None = None,
         image_prompts: Sequence[Image.Image] = (), mask: Image.Image | None = None,
         progress: Callable[[Event], object] = lambda event: None, **options: Any) -> list[Picture]:
    """Draw a prompt.

    Args:
        prompt: what to draw, 1 to 500 characters.
        generator: name of a generator; the first one where it is empty.
        num_images: how many; the generator's own number where None.
        seed: start of the random numbers, 0..2**32-1; a new one where None.
        init_image: picture to start from, for a generator that takes one.
        image_prompts: pictures that the result should be like, for a generator that takes any.
        mask: white where the init image may change.
        progress: called with each event of ``pipelines.core.events`` as it comes.
        options: the generator's own, by name.

    Returns:
        Pictures, the best match first.

    Raises:
        InvalidRequest: one sentence about the first fault of what is asked for.
        EaselError: everything else that goes wrong, as one sentence.
    """
    engine = process_engine()
    pictures = {"init_image": None if init_image is None else _png(init_image),
                "image_prompts": list(map(_png, image_prompts)),
                "mask": None if mask is None else _png(mask)}
    request = _request(engine, prompt, generator, options, num_images, seed, pictures)
    return list(_pictures(request, engine.run(request, progress)))


def compare(prompt: str, generators: Sequence[Pane] = (), *, num_images: int = 1,
            seed: int | None = None,
            progress: Callable[[Event], object] = lambda event: None) -> list[Drawn]:
    """Draw a prompt in several ways from the same seed.

    Args:
        prompt: what to draw.
        generators: names, or names with options, as ``("dalle", {"temperature": 0.5})``; every
            generator there is where there are none.
        num_images: pictures of each.
        seed: of all; a new one where None.
        progress: as for ``draw``.

    Returns:
        What became of each, in the order given; one that fails keeps none of the others.

    Raises:
        InvalidRequest: one sentence about the first fault, before anything is drawn.
        EaselError: none of them could draw.
    """
    engine = process_engine()
    given = [generators] if isinstance(generators, str) else generators
    panes = [_pane(pane) for pane in given or engine.registry.names()]
    requests = [_request(engine, prompt, name, options, num_images, seed)
                for name, options in panes]
    requests = [replace(request, seed=requests[0].seed) for request in requests]
    drawn = [_run(engine, request, progress) for request in requests]
    if all(each.error is not None for each in drawn) and drawn[0].error is not None:
        raise drawn[0].error
    return drawn


def rank(images: Image.Image | Picture | Sequence[Image.Image | Picture], prompt: str, *,
         clip: str = RANKER) -> list[Ranked]:
    """Put pictures in order by how well a CLIP says that they match a prompt.

    Args:
        images: at least one, of Pillow or drawn by ``draw``.
        prompt: a text, or several with weights, as "a red apple:2 | a worm:-0.5".
        clip: id of a CLIP in the catalogue.

    Returns:
        All of them, the best match first.

    Raises:
        InvalidRequest: there are no pictures, or no prompt.
        EaselError: the CLIP cannot be used.
    """
    pixels = _pixels(images)
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequest("The prompt is empty: say what to draw.", field="prompt")
    texts = ranking_texts(prompt)
    with process_engine().cache.lease(clip) as model:
        cosines = similarities(pixels, [text for text, _ in texts], model)
        scale = model.logit_scale
    scores = weighted_scores(cosines, [weight for _, weight in texts])
    shares = probabilities(scores, scale)
    taken = _taken(images)
    return [Ranked(taken[i], i, float(scores[i]), float(shares[i])) for i in ranking_order(scores)]


def classify(images: Image.Image | Picture | Sequence[Image.Image | Picture],
             labels: Sequence[str], *, templates: Sequence[str] = (), clip: str = RANKER,
             ) -> list[Classified]:
    """Say which of some labels fits each picture best.

    Args:
        images: at least one, of Pillow or drawn by ``draw``.
        labels: two or more words or phrases.
        templates: sentences with ``{}`` where the label goes; their mean counts. One of Easel's
            where there are none.
        clip: id of a CLIP in the catalogue.

    Returns:
        One for each picture, in their order.

    Raises:
        InvalidRequest: there are no pictures, or too few labels.
        EaselError: the CLIP cannot be used.
    """
    pixels = _pixels(images)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise InvalidRequest("Labels are a list of texts.", field="labels")
    wanted, sentences = check_labels(labels), check_templates(templates)
    with process_engine().cache.lease(clip) as model:
        texts = embed_texts(model, class_texts(wanted, sentences))
        found = classify_features(embed_images(model, pixels), class_features(texts, len(wanted)),
                                  wanted, model.logit_scale)
    rows = [{wanted[i]: float(found.probabilities[row, i]) for i in found.ranking(row)}
            for row in range(len(pixels))]
    return [Classified(next(iter(row)), next(iter(row.values())), row) for row in rows]


def _request(engine: Engine, prompt: str, generator: str, options: Mapping[str, Any],
             num_images: int | None, seed: int | None,
             pictures: Mapping[str, Any] | None = None) -> CheckedRequest[Any]:
    name = generator or engine.registry.names()[0]
    count = engine.registry.get(name).default_num_images if num_images is None else num_images
    return engine.registry.check({
        "prompt": prompt, "pipeline": name, "num_images": count, "seed": seed,
        "options": dict(options), **(pictures or {})})


def _pane(pane: Any) -> tuple[str, Mapping[str, Any]]:
    """A generator's name and options."""
    if isinstance(pane, str):
        return pane, {}
    match pane:
        case (str() as name, Mapping() as options):
            return name, options
    raise InvalidRequest("A way to draw is a generator's name, or its name and options, not {!r}.",
                         str(pane)[:40], field="generators")


def _run(engine: Engine, request: CheckedRequest[Any], progress: Callable[[Event], object],
         ) -> Drawn:
    options = request.options.model_dump()
    try:
        result = engine.run(request, progress)
    except EaselError as error:
        return Drawn(request.pipeline, options, (), 0.0, error)
    return Drawn(request.pipeline, options, _pictures(request, result), result.elapsed_s)


def _pictures(request: CheckedRequest[Any], result: Result) -> tuple[Picture, ...]:
    return tuple(Picture(Image.fromarray(c.image), c.seed, dict(c.scores), request.pipeline,
                         request.prompt, png_of(result, c)) for c in result.candidates)


def _pixels(images: Image.Image | Picture | Sequence[Image.Image | Picture]) -> list[np.ndarray]:
    taken = _taken(images)
    if not taken:
        raise InvalidRequest("There are no pictures to look at.", field="images")
    return [np.array(_rgb(image)) for image in taken]


def _taken(images: Any) -> list[Image.Image]:
    """Pillow's pictures of those that were given; a single one is a list of one."""
    given = [images] if isinstance(images, Image.Image | Picture) else images
    return [each.image if isinstance(each, Picture) else each for each in given]


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    _rgb(image).save(data, "PNG")
    return data.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    """A picture as ``open_image`` gives it; the caller's own is left as it is."""
    if not isinstance(image, Image.Image):
        raise InvalidImage("A picture is one of Pillow's, not of the type {}.",
                           type(image).__name__, field="images")
    check_size(*image.size)
    try:
        return rgb_of(image.copy())
    except UNREADABLE:
        raise InvalidImage("The picture is damaged or cut short.", field="images") from None
