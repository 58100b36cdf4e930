"""Which device a model runs on, and in which precision."""

from typing import Literal, cast

import torch

from napari_cytosae.errors import CytoSAEError

Precision = Literal["float32", "bfloat16"]

_DEVICES = ("auto", "cpu", "cuda", "mps")
_PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a user's choice into a device that exists on this machine.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA, then Apple's MPS, then the processor. ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` and ``"mps"`` are taken at their word.

    Raises
    ------
    CytoSAEError
        The device is not there; nothing falls back silently.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise CytoSAEError(
            f"{device!r} is not a device: choose one of {', '.join(_DEVICES)}."
        ) from None
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise CytoSAEError(
                "Device 'cuda' was asked for, but PyTorch sees no CUDA GPU here. "
                "Choose 'cpu' or 'auto', or install a CUDA build of PyTorch."
            )
        if chosen.index is not None and chosen.index >= torch.cuda.device_count():
            raise CytoSAEError(
                f"Device '{chosen}' was asked for, but there are only "
                f"{torch.cuda.device_count()} GPUs, counted from 0."
            )
    elif chosen.type == "mps":
        if not torch.backends.mps.is_available():
            raise CytoSAEError(
                "Device 'mps' was asked for, but PyTorch sees no Apple GPU here. "
                "Choose 'cpu' or 'auto'."
            )
    elif chosen.type != "cpu":
        raise CytoSAEError(f"{device!r} is not a device: choose one of {', '.join(_DEVICES)}.")
    return chosen


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """Turn a user's choice into a precision.

    Parameters
    ----------
    precision
        ``"auto"`` takes bfloat16 where `device` multiplies it in hardware, else float32.
        ``"float32"`` and ``"bfloat16"`` are taken at their word: both work everywhere, but
        without hardware bfloat16 is the slower of the two.
    device
        Where the model will run.
    """
    if precision not in _PRECISIONS:
        raise CytoSAEError(
            f"{precision!r} is not a precision: choose one of {', '.join(_PRECISIONS)}."
        )
    if precision != "auto":
        return cast(Precision, precision)
    return "bfloat16" if has_hardware_bfloat16(device) else "float32"


def has_hardware_bfloat16(device: torch.device) -> bool:
    """Tell whether `device` multiplies bfloat16 matrices in hardware.

    On x86 that means AMX or AVX512-BF16. Elsewhere (and on releases of PyTorch that cannot tell)
    the answer is no: emulated bfloat16 is several times slower than float32.
    """
    if device.type == "cuda":
        # Turing and older say yes to is_bf16_supported() because they emulate it.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "mps":
        return _mps_takes_bfloat16()
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, _no)()) for check in checks)


def _mps_takes_bfloat16() -> bool:
    """Try it: bfloat16 on Apple GPUs came with macOS 14, and no function of PyTorch tells."""
    try:
        one = torch.ones(1, dtype=torch.bfloat16, device="mps")
        return bool((one + one).item() == 2.0)
    except (RuntimeError, TypeError):
        return False


def _no() -> bool:
    return False
