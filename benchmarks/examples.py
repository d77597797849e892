"""The fixed page of prompts, drawn by each generator: what to look at after every training.

One picture a prompt, at one seed, none chosen among several. The pages are kept in
``assets/examples``.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from benchmarks.sheets import contact_sheet
from easel.serving.interface import Backend
from pipelines.core.events import Result

EXAMPLES_DIR = Path(__file__).resolve().parents[1] / "assets" / "examples"
SEED = 2026
PROMPTS = (
    # Objects
    "a photo of a dog", "a banana", "a bicycle", "an airplane", "a pizza", "a clock", "a giraffe",
    "a violin",
    # Colours
    "a blue umbrella", "a red dog", "a photo of a purple car", "a pink guitar", "a green apple",
    "a black cat", "an orange cup on a blue background", "a yellow dress",
    # Counts
    "two dogs", "three strawberries", "four cats", "five red apples", "a photo of three clocks",
    "two blue fish", "four pizzas", "three yellow stars",
    # Two things
    "a red apple next to a blue car at the beach", "a photo of a green bus and a purple microwave",
    "a cat above a bench", "a photo of a giraffe right of a bicycle", "a horse below a kite",
    "a bird on top of an elephant", "a yellow car left of a pink guitar",
    "a photo of a white sheep and a brown couch",
    # Three and more
    "a dog, a cat and a mouse", "an apple, a banana and a carrot", "a car, a bus and a train",
    "a spoon, a fork, a knife and a cup",
    # Places
    "a lion on the grass", "a rocket in space", "a penguin in the snow", "an octopus under water",
    "a sailboat at sunset", "a camel in the desert", "an owl at night", "a taxi in the city",
    # Media
    "a watercolor painting of a rose", "a pencil sketch of an elephant", "pixel art of a dragon",
    "a neon butterfly", "a mosaic of a fish", "an oil painting of a boat",
    "a black and white photo of a train", "a 3d icon of a rocket", "an emoji of a panda",
    "a sticker of a frog",
    # People
    "an astronaut", "a firefighter next to a fire engine", "a woman doctor", "a farmer with a cow",
    "a closeup watercolor portrait of a young male teacher of literature with a book",
    "a portrait of a female teacher of science", "an oil painting of an old teacher with a globe",
    # Portuguese
    "uma maçã vermelha", "dois cachorros", "um gato preto na praia",
)


def draw_examples(pipeline: str, backend: Backend, folder: Path = EXAMPLES_DIR) -> Path:
    """Draw every prompt once and write the page.

    Args:
        pipeline: the generator's name.
        backend: where it runs.
        folder: where the page goes, as ``<pipeline>.webp``.

    Returns:
        The page's path.
    """
    cells = []
    for prompt in tqdm(PROMPTS, desc=pipeline, unit="prompt", mininterval=5):
        request = {"pipeline": pipeline, "prompt": prompt, "num_images": 1, "seed": SEED}
        events = backend.stream(backend.registry.check(request))
        result = next(e for e in events if isinstance(e, Result))
        cells.append((result.candidates[0].image, prompt, None))
    path = folder / f"{pipeline}.webp"
    contact_sheet(cells, path)
    return path
