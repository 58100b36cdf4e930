"""One shard of a run: the activations of a fixed chunk of cells, as one safetensors file."""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_cytosae.concepts.cell import N_TOKENS, CellActivations
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import RunError

_METADATA = "shard"
_ARRAYS = ("labels", "indptr", "concept_ids", "values")
_DTYPES = {"I64": "<i8", "U16": "<u2", "U32": "<u4", "F16": "<f2"}
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError)
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Shard:
    """CSR of (cells · 257, d_sae) for a few cells; row ``cell * 257 + token``.

    Parameters
    ----------
    labels
        (n,) int64 labels of the cells, in row order.
    indptr
        (n · 257 + 1,) int64.
    concept_ids
        (nnz,) uint16, or uint32 for SAEs of more than 65,536 concepts.
    values
        (nnz,) float16, above 0.
    d_sae
        Number of concepts of the SAE.
    """

    labels: NDArray[np.int64]
    indptr: NDArray[np.int64]
    concept_ids: NDArray[np.unsignedinteger]
    values: NDArray[np.float16]
    d_sae: int

    @classmethod
    def from_cells(cls, cells: list[CellActivations], d_sae: int) -> "Shard":
        """Gather cells, rounding activations to float16; those that round to 0 are left out."""
        values = np.concatenate([cell.values for cell in cells])
        rounded = np.minimum(values, _LARGEST_FLOAT16).astype(np.float16)
        lengths = np.concatenate([np.diff(cell.indptr) for cell in cells])
        tokens = np.repeat(np.arange(len(lengths)), lengths)
        kept = rounded > 0
        indptr = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(np.bincount(tokens[kept], minlength=len(lengths)), out=indptr[1:])
        id_type = np.uint16 if d_sae <= 1 << 16 else np.uint32
        return cls(
            labels=np.array([cell.label for cell in cells], np.int64),
            indptr=indptr,
            concept_ids=np.concatenate([cell.concept_ids for cell in cells])[kept].astype(id_type),
            values=rounded[kept],
            d_sae=d_sae,
        )

    def write(self, path: Path, *, shards_left: int = 1) -> None:
        """Write the shard durably; a shard once written is never written again.

        Parameters
        ----------
        path
            The file.
        shards_left
            This shard and those still to come, for the message where the disk is full.
        """
        content = save(
            {name: getattr(self, name) for name in _ARRAYS},
            # One entry only: safetensors writes several in an order that changes from time to time.
            metadata={_METADATA: json.dumps({"d_sae": self.d_sae, "crc32": self._checksum()})},
        )
        write_durably(
            path,
            lambda temporary: temporary.write_bytes(content),
            needed_bytes=len(content) * shards_left,
        )

    @classmethod
    def read(cls, path: Path) -> "Shard":
        """Read a whole shard and compare its content with its checksum.

        Raises
        ------
        RunError
            Where the file is truncated or damaged.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata = json.loads(file.metadata()[_METADATA])
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            shard = cls(d_sae=metadata["d_sae"], **arrays)
        except _UNREADABLE as error:
            raise damaged(path) from error
        if shard._checksum() != metadata["crc32"]:
            raise damaged(path)
        return shard

    def cells(self, boxes: NDArray[np.float64]) -> list[CellActivations]:
        """Split into cells, whose crop boxes are given."""
        return [
            CellActivations(
                label=int(label),
                box=boxes[row],
                indptr=(pointers := self._pointers(row)) - pointers[0],
                concept_ids=self.concept_ids[pointers[0] : pointers[-1]],
                values=self.values[pointers[0] : pointers[-1]],
                d_sae=self.d_sae,
            )
            for row, label in enumerate(self.labels)
        ]

    def _pointers(self, row: int) -> NDArray[np.int64]:
        return self.indptr[row * N_TOKENS : (row + 1) * N_TOKENS + 1]

    def _checksum(self) -> int:
        checksum = zlib.crc32(json.dumps(self.d_sae).encode())
        for name in _ARRAYS:
            checksum = zlib.crc32(np.ascontiguousarray(getattr(self, name)).data, checksum)
        return checksum


class ShardReader:
    """Reads one shard after another into the same memory, twice as fast as `Shard.read`.

    What it gives is valid until the next is read. To be used by one thread.
    """

    def __init__(self) -> None:
        self._memory = bytearray()

    def read(self, path: Path) -> Shard:
        """Read a whole shard and compare its content with its checksum.

        Raises
        ------
        RunError
            Where the file is truncated or damaged.
        """
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if len(self._memory) < size:
                    self._memory = bytearray(size)
                content = memoryview(self._memory)[:size]
                done = 0
                while done < size and (n := file.readinto(content[done:])):
                    done += n
            # The format of safetensors: the header's length, the header as JSON, the arrays.
            start = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(bytes(content[8:start]))
            metadata = json.loads(header["__metadata__"][_METADATA])
            arrays = {name: _array(header[name], content[start:done]) for name in _ARRAYS}
            shard = Shard(d_sae=metadata["d_sae"], **arrays)
            intact = shard._checksum() == metadata["crc32"]
        except (*_UNREADABLE, RecursionError) as error:
            raise damaged(path) from error
        if not intact:
            raise damaged(path)
        return shard


def _array(entry: Mapping[str, Any], content: memoryview) -> NDArray[Any]:
    """View one array of a safetensors file."""
    first, last = entry["data_offsets"]
    array = np.frombuffer(content[first:last], _DTYPES[entry["dtype"]])
    return array.reshape(entry["shape"])


def read_cell(path: Path, row: int, box: NDArray[np.float64]) -> CellActivations:
    """Read one cell of a shard; only its own bytes are touched.

    Raises
    ------
    RunError
        Where the file is truncated or is no shard.
    """
    try:
        with safe_open(path, framework="np") as file:
            pointers = file.get_slice("indptr")[row * N_TOKENS : (row + 1) * N_TOKENS + 1]
            first, last = int(pointers[0]), int(pointers[-1])
            return CellActivations(
                label=int(file.get_slice("labels")[row : row + 1][0]),
                box=box,
                indptr=pointers - first,
                concept_ids=file.get_slice("concept_ids")[first:last],
                values=file.get_slice("values")[first:last],
                d_sae=json.loads(file.metadata()[_METADATA])["d_sae"],
            )
    except _UNREADABLE as error:
        raise damaged(path) from error


def read_concept(path: Path, concept_id: int) -> NDArray[np.float32]:
    """Read one concept at every token of a shard's cells, (n, 257) float32.

    Raises
    ------
    RunError
        Where the file is truncated or is no shard.
    """
    try:
        with safe_open(path, framework="np") as file:
            entries = np.flatnonzero(file.get_tensor("concept_ids") == concept_id)
            indptr = file.get_tensor("indptr")
            flat = np.zeros(len(indptr) - 1, np.float32)
            if entries.size:
                tokens = np.searchsorted(indptr, entries, side="right") - 1
                flat[tokens] = file.get_tensor("values")[entries]
    except _UNREADABLE as error:
        raise damaged(path) from error
    return flat.reshape(-1, N_TOKENS)


def damaged(path: Path) -> RunError:
    """Name a damaged shard and the way out."""
    return RunError(
        f"{path} is damaged. Start the same analysis again: it computes this part anew and keeps "
        "the rest."
    )
