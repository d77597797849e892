"""Janus-Pro from a folder as transformers saves it, in one safetensors file or in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import JanusForConditionalGeneration, JanusProcessor
from transformers.utils import logging as transformers_logging

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.tensor_files import missing_file
from pipelines.models.janus import Janus

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
# Between 5.0 and it, LlamaTokenizer put a pre-tokenizer of its own in the place of the file's.
LEAST_TRANSFORMERS = "5.16"


def load(folder: Path, entry: CatalogueEntry) -> Janus:
    """Janus from a folder as transformers saves it, safetensors only.

    Raises:
        WeightsError: a file is missing, damaged, or of another architecture.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise missing_file(name, entry.id)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # the page and the command line have their own
    try:
        loaded: Any = JanusForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype="auto",
            output_loading_info=True)
        model, report = loaded
        processor: Any = JanusProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its parts raise
        words = " ".join(str(error).split())[:160].rstrip(".")
        raise WeightsError("The model {} could not be read as Janus: {}.", entry.id,
                           words) from None
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    if lacking := sorted(report["missing_keys"]) + sorted(report["mismatched_keys"], key=str):
        raise WeightsError("The weights of the model {} do not fit its configuration: {} tensors "
                           "are missing (first {}).", entry.id, len(lacking), str(lacking[0])[:80])
    check_spaces(processor.tokenizer, entry.id)
    return Janus(model, processor)


def check_spaces(tokenizer: Any, model_id: str) -> None:
    """See whether a tokenizer tells words apart.

    Raises:
        WeightsError: it loses the spaces, as some versions of transformers make it.
    """
    ids = tokenizer("a b", add_special_tokens=False)["input_ids"]
    if " " not in tokenizer.decode(ids).strip():
        raise WeightsError("The tokenizer of the model {} loses the spaces between words under "
                           "transformers {}: install {} or newer.", model_id,
                           transformers.__version__, LEAST_TRANSFORMERS)
