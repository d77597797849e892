"""Which number format a model computes in."""

from __future__ import annotations

from typing import Literal

import torch

from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.fast_linear import has_int8

Precision = Literal["auto", "float32", "bfloat16"]
PrecisionOrInt8 = Literal["auto", "float32", "bfloat16", "int8"]


def fast_bfloat16(device: torch.device, large: bool = False) -> bool:
    """Whether a device computes faster in bfloat16 than in float32.

    A CPU does so where it has tiles for it (AMX) and the matrices are large. With small ones it
    does not: 16 cutouts at 128 px by the embedded models took one core of a Xeon 0.26 s against
    0.22 s.

    Args:
        device: where.
        large: whether the model is of a public checkpoint's size.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and large and cpu_has_tiles()


def cpu_has_tiles() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in tiles (AMX) and torch uses them."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def computing_in(device: torch.device, dtype: torch.dtype, precision: Precision = "auto",
                 ) -> torch.autocast:
    """A block whose products are in bfloat16, where that is asked for or faster.

    Args:
        device: where.
        dtype: of the weights; what is not float32 stays as it is.
        precision: the user's; "auto" is the faster one.
    """
    computed = computed_in(device, dtype, precision)
    return torch.autocast(device.type, torch.bfloat16, enabled=computed != dtype)


def computed_in(device: torch.device, dtype: torch.dtype, precision: Precision = "auto",
                ) -> torch.dtype:
    """What the products of a block of ``computing_in`` are in; its arguments are the same."""
    wanted = precision == "bfloat16" or (precision == "auto" and fast_bfloat16(device))
    return torch.bfloat16 if dtype == torch.float32 and wanted else dtype


def dtype_for(model_id: str, device: torch.device, run_dtype: torch.dtype,
              precision: PrecisionOrInt8 = "auto", int8: bool = False) -> torch.dtype:
    """The dtype to lease a model in.

    Embedded models keep the run's; "auto" and "bfloat16" give public ones half the bytes, and
    with them twice the speed of every step that is bound by reading weights. 8 bits halve them
    once more: on a CPU "auto" is "int8" for a model that can, since its scores move little
    (``models.linear`` says how little). Where the integer product is not there, an accelerator
    say, "int8" is "auto".

    Args:
        model_id: catalogue id.
        device: where the run computes.
        run_dtype: the operator's choice; anything but float32 is kept.
        precision: the user's.
        int8: whether the model can be packed in 8 bits.

    Returns:
        ``torch.int8`` for packed matrices beside float32 for all the rest.
    """
    if model_id.startswith(EMBEDDED) or run_dtype != torch.float32 or precision == "float32":
        return run_dtype
    if int8 and precision != "bfloat16" and device.type == "cpu" and has_int8():
        return torch.int8
    wanted = precision == "bfloat16" or fast_bfloat16(device, large=True)
    return torch.bfloat16 if wanted else run_dtype
