"""The embedding of a black picture, which every guided Kandinsky run needs: kept on disk.

It is a constant of the image encoder, 1,280 numbers, so that a run from text does not have to load
3.7 GB for them. It is kept for each device and dtype apart, so that a run gets the bits that it
would have computed.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from pipelines.core.errors import WeightsError
from pipelines.core.files import atomic_write
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.tensor_files import read_safetensors

logger = logging.getLogger(__name__)
FOLDER = ".embeddings"  # no model id begins with a dot


class BlankEmbedding:
    """Keeps the embedding beside the downloaded models.

    Args:
        catalogue: knows the encoder's files; nothing is kept where None.
        model_id: the encoder's.
    """

    def __init__(self, catalogue: Catalogue | None, model_id: str) -> None:
        self._catalogue, self._model_id = catalogue, model_id

    def path(self, device: torch.device, dtype: torch.dtype) -> Path | None:
        """Where it is kept; None where nobody can tell which weights it is of."""
        if self._catalogue is None:
            return None
        entry = self._catalogue.get(self._model_id)
        hashes = [file.sha256 for file in entry.files if file.name.endswith(".safetensors")]
        if not hashes or None in hashes:
            return None
        name = "-".join([*(str(sha256)[:16] for sha256 in hashes), device.type,
                         str(dtype).removeprefix("torch.")])
        return self._catalogue.models_dir / FOLDER / f"{name}.safetensors"

    def read(self, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        """The embedding (1, D) on the CPU; None where it is not kept yet."""
        path = self.path(device, dtype)
        if path is None or not path.is_file():
            return None
        try:
            found = read_safetensors(path, self._model_id)["blank"]
        except (WeightsError, KeyError):
            logger.warning("%s cannot be read, so it is made anew", path)
            return None
        return found if found.dtype == dtype and found.ndim == 2 else None

    def keep(self, blank: Tensor, device: torch.device) -> None:
        """Write the embedding (1, D) down, where that is possible."""
        path = self.path(device, blank.dtype)
        if path is None:
            return
        try:
            atomic_write(path, save({"blank": blank.detach().cpu().contiguous()}))
        except OSError as error:
            logger.warning("%s cannot be written: %s", path, error)
