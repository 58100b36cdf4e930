"""Write safetensors files whose failures and permissions are those of any other file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a file that whoever may read its neighbours may read.

    Parameters
    ----------
    tensors
        By name; contiguous, on the processor.
    path
        The file to write or replace.
    metadata
        Text kept beside them.

    Raises
    ------
    OSError
        The system refuses, with its error number; safetensors has it in its message only.
    """
    # safetensors makes the file readable by its owner alone; a file made before shows what the
    # folder and the user would have.
    path.touch()
    mode = path.stat().st_mode & 0o777
    try:
        save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    except SafetensorError as error:
        if (found := re.search(r"os error (\d+)", str(error))) is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
    path.chmod(mode)
