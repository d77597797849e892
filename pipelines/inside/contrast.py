"""What CLIP was trained by: pairs of pictures and texts, each against all others, as one number.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 2.3 and figure 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.inside.question import checked_prompt
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.rerank import similarities
from pipelines.zero_shot import softmax

MIN_PAIRS, MAX_PAIRS = 2, 12
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.005, 1.0


@dataclass(frozen=True, eq=False)
class Contrast:
    """N pairs as a batch of the training.

    Attributes:
        model_id: id of the CLIP, or the name of the training that it is of.
        similarities: (N, N) float32, a row a text, a column a picture; cosines in [-1, 1].
        temperature: what similarities are divided by.
        trained: the temperature that the CLIP learned in training.
        over_pictures: (N, N), the softmax of each row: which picture belongs to a text.
        over_texts: (N, N), the softmax of each column: which text belongs to a picture.
        loss_of_texts: mean of minus the logarithm of the rows' diagonal, in nats.
        loss_of_pictures: the same of the columns.
    """

    model_id: str
    similarities: np.ndarray
    temperature: float
    trained: float
    over_pictures: np.ndarray
    over_texts: np.ndarray
    loss_of_texts: float
    loss_of_pictures: float

    @property
    def loss(self) -> float:
        """The contrastive loss: the mean of both."""
        return (self.loss_of_texts + self.loss_of_pictures) / 2

    @property
    def right(self) -> tuple[int, int]:
        """How many texts find their picture, and how many pictures their text."""
        own = np.arange(len(self.similarities))
        return (int((self.similarities.argmax(1) == own).sum()),
                int((self.similarities.argmax(0) == own).sum()))


@dataclass(frozen=True, eq=False)
class ContrastPairs:
    """The question how a CLIP tells pairs apart.

    Attributes:
        images: N pictures, (H, W, 3) uint8 RGB each, of any sizes.
        texts: N texts, each that of the picture in its place.
        temperature: what similarities are divided by; the CLIP's own where None.
        model_id: id of the CLIP in the catalogue.
    """

    images: Sequence[np.ndarray]
    texts: Sequence[str]
    temperature: float | None = None
    model_id: str = RANKER

    def __post_init__(self) -> None:
        """Check what is asked.

        Raises:
            InvalidRequest: there are too few or too many pairs, pictures without a text or texts
                without a picture, or the temperature is out of bounds.
        """
        check_pairs(len(self.images), len(self.texts))
        object.__setattr__(self, "texts", tuple(map(checked_prompt, self.texts)))
        check_temperature(self.temperature)

    @property
    def models(self) -> tuple[str, ...]:
        """The CLIP."""
        return (self.model_id,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False,
               ) -> Contrast:
        """See ``Question.answer`` and ``Contrast``."""
        with models.lease(self.model_id, cancelled=cancelled) as clip:
            if cancelled():
                raise Cancelled
            # (N pictures, N texts) -> a row a text.
            cosines = similarities(list(self.images), self.texts, clip).numpy().T
            trained = 1 / clip.logit_scale
        return contrast_of(cosines, self.temperature or trained, trained, self.model_id)


def check_pairs(images: int, texts: int) -> None:
    """Refuse what are no pairs, by their numbers alone.

    Raises:
        InvalidRequest: there are too few or too many, or more of the one than of the other.
    """
    if images != texts:
        raise InvalidRequest("Every picture needs its own text, one a line; pictures: {}, "
                             "texts: {}.", images, texts, field="texts")
    if not MIN_PAIRS <= images <= MAX_PAIRS:
        raise InvalidRequest("There must be {} to {} pairs, not {}.", MIN_PAIRS, MAX_PAIRS,
                             images, field="texts")


def check_temperature(temperature: object) -> None:
    """Refuse what nothing can be divided by; None stands for the one that was learned.

    Raises:
        InvalidRequest: it is no number, or out of bounds.
    """
    if temperature is not None and not (
            isinstance(temperature, int | float) and not isinstance(temperature, bool)
            and MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE):
        raise InvalidRequest("The temperature must be from {} to {}.", MIN_TEMPERATURE,
                             MAX_TEMPERATURE, field="temperature")


def contrast_of(cosines: np.ndarray, temperature: float, trained: float, model_id: str = RANKER,
                ) -> Contrast:
    """Both softmaxes and the loss of a matrix of similarities (N, N); see ``Contrast``."""
    logits = cosines.astype(np.float64) / temperature
    rows, columns = softmax(logits, axis=1), softmax(logits, axis=0)
    least = np.finfo(np.float64).tiny
    of_texts, of_pictures = (float(-np.log(np.diag(each).clip(least)).mean())
                             for each in (rows, columns))
    return Contrast(model_id, cosines, temperature, trained, rows, columns, of_texts, of_pictures)
