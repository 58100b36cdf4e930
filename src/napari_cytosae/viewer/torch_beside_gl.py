"""Load torch in a process that draws with Mesa, without taking the process down."""

import sys
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def keep_triton_out() -> None:
    """Hide triton from torch where Mesa's LLVM is loaded already.

    Mesa's software and AMD drivers load LLVM, triton brings another one under the same symbols,
    and importing it after them ends the process with a segmentation fault. torch needs triton
    only to compile kernels for graphics cards, and does without where it cannot be imported.
    Call it before the first import of torch; where triton is loaded or Mesa is not, it does nothing.
    """
    if "triton" in sys.modules or not _MAPS.is_file():
        return
    if "libLLVM" in _MAPS.read_text(encoding="utf-8", errors="replace"):
        sys.modules["triton"] = None  # type: ignore[assignment]  # what makes an import fail
