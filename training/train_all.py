"""Train all embedded models on one GPU, those that build on each other in turn, the others at once.

    python -m training.train_all --minutes 23

The VQGAN and the guide come first; from their weights the scenes of DALL·E and of unCLIP's decoder
are encoded; then everything else trains side by side until the time is over. What each writes is in
``runs/<name>.log``. The small models leave a GPU room: five processes take turns on it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from training.loop import RUNS_DIR

VQGAN_MINUTES, GUIDE_MINUTES, CELLS_MINUTES, PRIOR_MINUTES = 4.0, 3.0, 3.0, 7.0
# Of the decoder of the VQGAN alone, while its codes stay as the others learn them.
DECODER_MINUTES, UPSCALER_MINUTES, DISCRIMINATOR_MINUTES = 4.0, 1.2, 2.0
LAYER_VQGAN_MINUTES = 3.0
DALLE_SCENES, DECODER_SCENES, BANK_PICTURES = 480_000, 320_000, 19_200


class Failed(RuntimeError):
    """A training ended with an error."""


def run(name: str, module: str, *arguments: str) -> None:
    """Run ``python -m training.<module>`` to its end, its output in ``runs/<name>.log``.

    Raises:
        Failed: it ended with an error.
    """
    RUNS_DIR.mkdir(exist_ok=True)
    started = time.monotonic()
    with (RUNS_DIR / f"{name}.log").open("a") as log:
        code = subprocess.call([sys.executable, "-m", f"training.{module}", *arguments],
                               stdout=log, stderr=subprocess.STDOUT)
    print(f"{name}: {time.monotonic() - started:.0f} s, exit {code}", flush=True)
    if code:
        raise Failed(f"{name} failed, see {RUNS_DIR / name}.log")


class Schedule:
    """What trains when.

    Args:
        minutes: from now until all trainings end.
    """

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.vqgan, self.guide = threading.Event(), threading.Event()
        self.failures: list[BaseException] = []

    def left(self) -> float:
        """Minutes until the end."""
        return max(0.2, (self.end - time.monotonic()) / 60)

    def until_the_end(self, name: str, module: str, most: float = 1e6) -> None:
        """Train in all the time that is left, in minutes at most ``most``."""
        run(name, module, "--set", f"minutes={min(most, self.left()):.2f}")

    def train_vqgan(self) -> None:
        """The VQGAN, then its decoder again, and upscaler and discriminator of what that draws."""
        # Everything else is trained anew on its codes, so that it takes the place of the old one.
        run("vqgan", "train_vqgan", "--set", 'export_as="vqgan"', "--set",
            f"minutes={VQGAN_MINUTES}")
        self.vqgan.set()
        config = Path(__file__).parent / "configs" / "vqgan_decoder.toml"
        run("vqgan-decoder", "train_vqgan", "--config", str(config), "--set", 'export_as="vqgan"',
            "--set", 'start_from="assets/weights/vqgan"',
            "--set", f"minutes={DECODER_MINUTES}")
        run("upscaler", "train_upscaler", "--set", f"minutes={UPSCALER_MINUTES}")
        run("discriminator", "train_discriminator", "--set", f"minutes={DISCRIMINATOR_MINUTES}")

    def train_guide(self) -> None:
        """The guide, its cell tower, then the prior of its embeddings."""
        config = Path(__file__).parent / "configs" / "clip_guide.toml"
        run("clip-guide", "train_clip", "--config", str(config), "--set",
            f"minutes={GUIDE_MINUTES}")
        run("cells", "train_cells", "--set", f"minutes={CELLS_MINUTES}")
        self.guide.set()
        self.until_the_end("prior", "train_prior", PRIOR_MINUTES)

    def train_dalle(self) -> None:
        """The VQGAN of layers, its codes, and DALL·E, which writes them."""
        run("layer-vqgan", "train_layer_vqgan", "--set", f"minutes={LAYER_VQGAN_MINUTES}")
        run("codes-dalle", "make_codes", "--trainer", "dalle", "--scenes", str(DALLE_SCENES),
            "--processes", "7")
        self.until_the_end("dalle", "train_dalle")

    def train_decoder(self) -> None:
        """unCLIP's decoder, once there are codes and embeddings."""
        self.vqgan.wait()
        self.guide.wait()
        run("codes-decoder", "make_codes", "--trainer", "decoder", "--scenes",
            str(DECODER_SCENES), "--processes", "5")
        self.until_the_end("decoder", "train_decoder")

    def train_ranker(self) -> None:
        """The ranker, once there are pictures decoded from codes."""
        self.vqgan.wait()
        run("bank", "make_bank", "--count", str(BANK_PICTURES))
        self.until_the_end("clip-ranker", "train_ranker")

    def _guarded(self, train: Callable[[], None]) -> None:
        try:
            train()
        except BaseException as error:
            self.failures.append(error)
            print(error, flush=True)
            # What waits for it shall fail too, and not wait for ever.
            self.vqgan.set()
            self.guide.set()

    def run(self) -> None:
        """Train everything.

        Raises:
            Failed: one of the trainings ended with an error; the others were not stopped by it.
        """
        parts = (self.train_vqgan, self.train_guide, self.train_dalle, self.train_decoder,
                 self.train_ranker)
        threads = [threading.Thread(target=self._guarded, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise Failed("; ".join(str(error) for error in self.failures))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=23.0)
    Schedule(parser.parse_args().minutes).run()


if __name__ == "__main__":
    main()
