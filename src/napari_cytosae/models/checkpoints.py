"""Open weight files: PyTorch's two formats and safetensors, without running anything in them.

Files are mapped, not read: a tensor that nobody asks for (the blocks after the SAE's, a
projection head, an optimiser's state) never enters memory.
"""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from napari_cytosae.errors import CheckpointError, UnsafeCheckpointError
from napari_cytosae.models.pickles import Storage, TensorRecord, read_pickle

# The pickles of real checkpoints stay under 1 MB; the weights lie beside them.
_MAX_PICKLE_BYTES: Final = 64 * 2**20
_MAX_MEMBERS: Final = 200_000
# How torch.save opens a file in the format it had before 1.6.
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_NEW_NAME: Final = (
    "Ask its publisher for a safetensors file, or save it again with PyTorch 1.6 or newer."
)


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor in a file: its shape now, its numbers on demand."""

    shape: tuple[int, ...]
    nbytes: int
    _load: Callable[[], torch.Tensor]

    def load(self) -> torch.Tensor:
        """Read the numbers: a contiguous float32 tensor of its own."""
        found = self._load()
        if not found.is_floating_point():
            raise CheckpointError(f"a tensor holds {found.dtype}, not floating-point numbers")
        return found.to(torch.float32, copy=True).contiguous()


def read_checkpoint(path: Path) -> Any:
    """Open a weight file and give its content as plain data.

    Returns
    -------
    For safetensors, a dictionary of `LazyTensor`. For ``.pt``, ``.pth`` and ``.bin``, whatever
    the file holds, with `TensorRecord` for tensors and `InertObject` for unknown classes;
    `take_tensors` turns a state dictionary in it into `LazyTensor`.

    Raises
    ------
    UnsafeCheckpointError
        The file would run code, or is built to mislead its reader.
    CheckpointError
        The file is missing, damaged, or not a checkpoint.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
            if not head:
                raise CheckpointError(f"{path} is empty. Download it again.")
            if head.startswith(b"PK"):
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
                return _read_zip(path, mapped)
            if head[8:9] == b"{":
                return _read_safetensors(path)
            if head.startswith(b"\x80"):
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
                return _read_legacy(path, mapped)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    raise CheckpointError(f"{path} is not a checkpoint: {_guess(head)}.")


def take_tensors(content: Any, path: Path) -> dict[str, LazyTensor]:
    """Give the tensors of a state dictionary; entries that are no tensors are left out.

    Raises
    ------
    UnsafeCheckpointError
        The tensors together are larger than the file: some overlap, which would fill the memory.
    """
    tensors: dict[str, LazyTensor] = {}
    storages: dict[int, int] = {}
    if not isinstance(content, Mapping):
        return tensors
    for key, value in content.items():
        if isinstance(value, LazyTensor):
            tensors[key] = value
        elif isinstance(value, TensorRecord) and isinstance(key, str):
            storage = value.storage
            storages[id(storage)] = storage.count * storage.itemsize
            nbytes = storage.itemsize
            for side in value.shape:
                nbytes *= side
            tensors[key] = LazyTensor(value.shape, nbytes, partial(_load_record, value, path))
    if storages and sum(tensor.nbytes for tensor in tensors.values()) > sum(storages.values()):
        raise UnsafeCheckpointError(
            f"{path} was refused: its tensors overlap, so that they would take more memory than "
            "the file holds."
        )
    return tensors


def read_array(path: Path) -> NDArray[Any]:
    """Read a file that holds one tensor and nothing else, as ``torch.save(tensor)`` writes it.

    Returns
    -------
    NDArray
        Of the type that was saved (bfloat16 as float32), on the processor, whatever device it was
        saved on.

    Raises
    ------
    UnsafeCheckpointError
        The file would run code.
    CheckpointError
        The file is missing, damaged, or holds anything else.
    """
    content = read_checkpoint(path)
    if not isinstance(content, TensorRecord):
        raise CheckpointError(f"{path} should hold one tensor, and holds something else.")
    tensor = _load_record(content, path)
    exact = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return exact.contiguous().clone().numpy()


def _load_record(record: TensorRecord, path: Path) -> torch.Tensor:
    storage = record.storage
    if storage.read is None:
        raise CheckpointError(f"{path} is damaged: storage {storage.key!r} is missing.")
    if not storage.count:
        return torch.empty(record.shape)
    numbers = torch.frombuffer(
        storage.read(), dtype=getattr(torch, storage.dtype), count=storage.count
    )
    return numbers.as_strided(record.shape, record.stride, record.offset)


# -- zip: torch.save since 1.6 -----------------------------------------------------------------


def _read_zip(path: Path, mapped: mmap.mmap) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise CheckpointError(
            f"{path} is damaged or incomplete ({error}). Download it again."
        ) from None
    files = _check_members(path, members, len(mapped))
    if "data.pkl" not in files or "constants.pkl" in files:
        what = (
            "a TorchScript program"
            if "constants.pkl" in files
            else "a zip archive of something else"
        )
        raise CheckpointError(
            f"{path} is {what}, not a file of weights. Save the model's state_dict instead."
        )
    member = partial(_member, path, mapped)
    if "byteorder" in files and bytes(member(files["byteorder"])) != b"little":
        raise CheckpointError(f"{path} was written on a big-endian computer. {_NEW_NAME}")
    pickle = files["data.pkl"]
    if pickle.file_size > _MAX_PICKLE_BYTES:
        raise UnsafeCheckpointError(
            f"{path} was refused: its description alone takes {pickle.file_size} bytes."
        )
    storages: dict[str, Storage] = {}
    content = read_pickle(BytesIO(member(pickle)), str(path), storages)
    for key, storage in storages.items():
        info = files.get(f"data/{key}")
        if info is None:
            raise CheckpointError(f"{path} is damaged: storage {key!r} is missing.")
        if info.file_size != storage.count * storage.itemsize:
            raise UnsafeCheckpointError(
                f"{path} was refused: storage {key!r} is said to hold {storage.count} numbers of "
                f"{storage.itemsize} bytes, but has {info.file_size} bytes."
            )
        storage.read = cache(partial(member, info))
    return content


def _check_members(
    path: Path, members: list[zipfile.ZipInfo], file_size: int
) -> dict[str, zipfile.ZipInfo]:
    """Refuse archives that torch.save cannot have written; give the members by their short names."""
    if len(members) > _MAX_MEMBERS:
        raise UnsafeCheckpointError(f"{path} was refused: it has {len(members)} members.")
    files: dict[str, zipfile.ZipInfo] = {}
    roots = set()
    for info in members:
        # orig_filename is the name as it stands in the file, before zipfile cuts it at a NUL.
        name = info.orig_filename
        root, _, short = name.partition("/")
        parts = name.split("/")
        if not root or not short or ".." in parts or "\\" in name or "\0" in name or ":" in name:
            raise UnsafeCheckpointError(f"{path} was refused: it has a member called {name!r}.")
        if short in files:
            raise UnsafeCheckpointError(f"{path} was refused: it has two members called {name!r}.")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UnsafeCheckpointError(
                f"{path} was refused: {name!r} is compressed, as no checkpoint is; unpacked, it "
                f"is said to take {info.file_size} bytes."
            )
        if info.flag_bits & 0x1:
            raise CheckpointError(f"{path} is encrypted.")
        if info.header_offset + info.file_size > file_size:
            raise UnsafeCheckpointError(f"{path} was refused: {name!r} is larger than the file.")
        roots.add(root)
        files[short] = info
    if len(roots) > 1:
        raise UnsafeCheckpointError(
            f"{path} was refused: it has members of {len(roots)} archives ({sorted(roots)[:3]})."
        )
    return files


def _member(path: Path, mapped: mmap.mmap, info: zipfile.ZipInfo) -> memoryview:
    """Map a stored member and check that it is what was written."""
    damaged = CheckpointError(f"{path} is damaged at {info.filename!r}. Download it again.")
    start = info.header_offset
    header = mapped[start : start + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise damaged
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start += 30 + name_length + extra_length
    data = memoryview(mapped)[start : start + info.file_size]
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise damaged
    return data


# -- torch.save before 1.6 ---------------------------------------------------------------------


def _read_legacy(path: Path, mapped: mmap.mmap) -> Any:
    stream = BytesIO(mapped[:_MAX_PICKLE_BYTES])
    storages: dict[str, Storage] = {}
    read = partial(read_pickle, stream, str(path))
    if read({}) != _LEGACY_MAGIC or read({}) != _LEGACY_PROTOCOL:
        raise CheckpointError(f"{path} is a pickle, but not one of PyTorch's. {_NEW_NAME}")
    system = read({})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{path} was written on a big-endian computer. {_NEW_NAME}")
    content = read(storages)
    keys = read({})
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise CheckpointError(f"{path} is damaged: it does not hold the storages that it lists.")
    position = stream.tell()
    for key in keys:
        storage = storages[key]
        nbytes = storage.count * storage.itemsize
        count = int.from_bytes(mapped[position : position + 8], "little", signed=True)
        start = position + 8
        if count != storage.count or start + nbytes > len(mapped):
            raise CheckpointError(f"{path} is damaged or incomplete. Download it again.")
        storage.read = partial(_slice, mapped, start, nbytes)
        position = start + nbytes
    return content


def _slice(mapped: mmap.mmap, start: int, nbytes: int) -> memoryview:
    return memoryview(mapped)[start : start + nbytes]


# -- safetensors -------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> dict[str, LazyTensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {
                key: LazyTensor(
                    tuple(file.get_slice(key).get_shape()), 0, partial(_load_safetensor, path, key)
                )
                for key in file.keys()  # noqa: SIM118 - not a mapping
            }
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}). Download it again."
        ) from None


def _load_safetensor(path: Path, key: str) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(key)
            return tensor
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read any more ({error}).") from None


def _guess(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page. The download went wrong: open its link in a browser"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS. Fetch the file itself with git lfs pull"
    if start.startswith((b"{", b"[")):
        return "it is JSON"
    return "neither PyTorch nor safetensors wrote it"
