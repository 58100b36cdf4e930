"""Read pickles as data: a machine that has no way to call anything that a pickle names.

Python's own unpickler looks up whatever a file names and calls it; ``torch.load(weights_only=True)``
calls less, but cannot read the configuration object that upstream's SAE checkpoints hold. Here a
name in a pickle stays a name. Lists, dictionaries, numbers and text become themselves, tensors
become descriptions (`TensorRecord`), instances of unknown classes become `InertObject`, and
everything else is refused. Nothing is imported, looked up or called on a file's behalf.
"""

import io
import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from napari_cytosae.errors import CheckpointError, UnsafeCheckpointError

# Bytes per element of the storages that checkpoints hold, by the name torch pickles.
STORAGES: Final = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
_DTYPES: Final = frozenset(
    {
        *("float64", "double", "float32", "float", "float16", "half", "bfloat16"),
        *("int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "bool"),
        *("complex64", "complex128"),
    }
)
# A class from one of these is installed, so its instances are no strangers to be kept as data.
_INSTALLED: Final = frozenset(sys.stdlib_module_names) | {
    *("__builtin__", "napari", "napari_cytosae", "numpy", "pip", "safetensors", "scipy"),
    *("setuptools", "timm", "torch", "torchvision"),
}
_MAX_DIMENSIONS: Final = 16


@dataclass(slots=True, eq=False)
class Storage:
    """A block of numbers that tensors point into; `read` is filled in by the file's reader."""

    key: str
    dtype: str
    itemsize: int
    count: int
    read: Callable[[], memoryview] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TensorRecord:
    """A tensor as a pickle describes it, already checked to lie inside its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True, eq=False)
class InertObject:
    """What is left of an instance whose class is not installed: its name and its fields."""

    class_path: str
    state: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Name:
    """A name that a pickle mentions. It is never looked up."""

    path: str


_MARK: Final = object()


def read_pickle(stream: io.BytesIO, file: str, storages: dict[str, Storage]) -> Any:
    """Read one pickle as data.

    Parameters
    ----------
    stream
        Where the pickle begins; afterwards, where it ended.
    file
        The file's name, for messages.
    storages
        Filled with every storage that the pickle refers to.

    Raises
    ------
    UnsafeCheckpointError
        The pickle would call or import something; the message names the file and the offender.
    CheckpointError
        It is damaged.
    """
    return _Machine(file, storages).run(stream)


class _Machine:
    """A stack machine for the part of the pickle protocol that describes data."""

    def __init__(self, file: str, storages: dict[str, Storage]) -> None:
        self.file = file
        self.storages = storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}  # a dictionary: a huge index costs nothing

    def run(self, stream: io.BytesIO) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                name = opcode.name
                if name in _LITERALS:
                    self.stack.append(argument)
                elif name == "STOP":
                    return self.pop()
                elif name in _STEPS:
                    _STEPS[name](self, argument)
                else:
                    raise self.unsafe(f"the pickle instruction {name}")
        except (IndexError, KeyError, TypeError, ValueError, UnicodeError, OverflowError) as error:
            raise CheckpointError(
                f"{self.file} is damaged or not a checkpoint: its pickle cannot be read ({error})."
            ) from None
        raise CheckpointError(f"{self.file} is damaged: its pickle has no end.")

    def unsafe(self, what: str) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            f"{self.file} was refused: it uses {_printable(what)}, which could run code on this computer. "
            "Weights need nothing of the kind. Get the file from its publisher again, or ask "
            "them for a safetensors file."
        )

    # -- stack ---------------------------------------------------------------------------------

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("unexpected mark")
        return value

    def pop_to_mark(self) -> list[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                items = self.stack[start + 1 :]
                del self.stack[start:]
                return items
        raise ValueError("no mark")

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"expected a {kind.__name__}, found {_describe(self.stack[-1])}")
        return self.stack[-1]

    def tuple_of(self, count: int) -> None:
        items = tuple(self.pop() for _ in range(count))[::-1]
        self.stack.append(items)

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise ValueError("a key without a value")
        self.top(dict).update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def dict_to_mark(self) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self.set_items(items)

    def put(self, index: int) -> None:
        if self.stack[-1] is _MARK:
            raise ValueError("unexpected mark")
        self.memo[index] = self.stack[-1]

    # -- names ---------------------------------------------------------------------------------

    def name(self, module: Any, attribute: Any) -> None:
        if type(module) is not str or type(attribute) is not str:
            raise ValueError("a name that is not text")
        path = f"{module}.{attribute}"
        if path in _CALLS or path in _PLAIN_NAMES:
            self.stack.append(_Name(path))
        elif module.partition(".")[0] in _INSTALLED:
            raise self.unsafe(path)
        else:
            self.stack.append(_Name(path))

    def stack_name(self) -> None:
        attribute, module = self.pop(), self.pop()
        self.name(module, attribute)

    def new_object(self) -> None:
        arguments, cls = self.pop(), self.pop()
        if type(cls) is not _Name:
            raise ValueError(f"an instance of {_describe(cls)}")
        if arguments != () or cls.path in _CALLS or cls.path in _PLAIN_NAMES - _PLAIN_CLASSES:
            raise self.unsafe(f"a constructor call of {cls.path}")
        self.stack.append(InertObject(cls.path))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if type(state) is not dict or not all(type(key) is str for key in state):
            raise self.unsafe(f"__setstate__ of {_describe(target)}")
        if type(target) is InertObject:
            target.state = state  # not copied: a thousand objects may share one large state
        elif type(target) is not dict:  # an OrderedDict's attributes (_metadata) are of no use
            raise self.unsafe(f"__setstate__ of {_describe(target)}")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        path = function.path if type(function) is _Name else _describe(function)
        if path not in _CALLS:
            raise self.unsafe(f"a call of {path}")
        if type(arguments) is not tuple:
            raise ValueError(f"arguments of {path} that are no tuple")
        self.stack.append(_CALLS[path](self, *arguments))

    # -- tensors -------------------------------------------------------------------------------

    def persistent(self) -> None:
        reference = self.pop()
        if type(reference) is not tuple or len(reference) < 5 or reference[0] != "storage":
            raise self.unsafe("a persistent reference that is no tensor storage")
        _, kind, key, location, count = reference[:5]
        # The old format adds a sixth entry: None, or a view of another storage.
        if any(entry is not None for entry in reference[5:]):
            raise CheckpointError(f"{self.file} holds views of storages, which nothing writes now.")
        module, _, name = (kind.path if type(kind) is _Name else "").rpartition(".")
        if module != "torch" or name not in STORAGES:
            raise self.unsafe(f"a storage of type {_describe(kind)}")
        if type(key) is not str or type(location) is not str or not _is_size(count):
            raise ValueError("a storage that is misdescribed")
        dtype, itemsize = STORAGES[name]
        storage = self.storages.setdefault(key, Storage(key, dtype, itemsize, count))
        if (storage.dtype, storage.count) != (dtype, count):
            raise self.unsafe(f"storage {key!r} under two descriptions")
        self.stack.append(storage)

    def tensor(
        self, storage: Any, offset: Any, shape: Any, stride: Any, *_flags_and_hooks: Any
    ) -> TensorRecord:
        for entry in _flags_and_hooks:
            # requires_grad, then backward hooks: an empty dictionary unless someone put code there.
            if type(entry) is not bool and not (type(entry) is dict and not entry):
                raise self.unsafe("a tensor with backward hooks")
        if type(storage) is not Storage or not _is_size(offset):
            raise ValueError("a tensor without a storage")
        if not (_is_sizes(shape) and _is_sizes(stride) and len(shape) == len(stride)):
            raise ValueError("a tensor without a shape")
        count = prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        # A tensor larger than its storage repeats elements; copying it could fill the memory.
        if count > storage.count or (count and last >= storage.count) or offset > storage.count:
            raise self.unsafe(
                f"a tensor of shape {shape} and stride {stride} at {offset} that reaches outside "
                f"its storage of {storage.count} numbers"
            )
        return TensorRecord(storage, offset, shape, stride)

    def parameter(self, data: Any, _requires_grad: Any, hooks: Any) -> TensorRecord:
        if type(data) is not TensorRecord:
            raise ValueError("a parameter without a tensor")
        if type(hooks) is not dict or hooks:
            raise self.unsafe("a parameter with backward hooks")
        return data

    def ordered_dict(self) -> dict[Any, Any]:
        return {}

    def device(self, *arguments: Any) -> str:
        if not all(type(argument) in (str, int) for argument in arguments):
            raise ValueError("a device that is misdescribed")
        return ":".join(str(argument) for argument in arguments)

    def size(self, sizes: Any) -> tuple[int, ...]:
        found = tuple(sizes) if type(sizes) is list else sizes
        if not _is_sizes(found):
            raise ValueError("a size that is misdescribed")
        result: tuple[int, ...] = found
        return result


def _printable(text: str) -> str:
    """Keep a hostile name from filling or garbling the screen."""
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _is_sizes(values: Any) -> bool:
    return (
        type(values) is tuple
        and len(values) <= _MAX_DIMENSIONS
        and all(_is_size(value) for value in values)
    )


def _pairs(pairs: Any) -> list[tuple[Any, Any]]:
    checked = [(key, value) for key, value in pairs]
    for key, _ in checked:
        # Hashing a deeply nested tuple overflows the interpreter's own stack.
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise ValueError(f"a dictionary key that is {_describe(key)}")
    return checked


def _describe(value: Any) -> str:
    if type(value) is _Name:
        return value.path
    return value.class_path if type(value) is InertObject else f"a {type(value).__name__}"


# The only functions that a pickle may ask for, and what happens instead of calling them.
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "collections.OrderedDict": _Machine.ordered_dict,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch.Size": _Machine.size,
    "torch.device": _Machine.device,
}
_PLAIN_CLASSES: Final = frozenset({"argparse.Namespace"})
# Names that may be mentioned, but not called.
_PLAIN_NAMES: Final = (
    _PLAIN_CLASSES | {f"torch.{name}" for name in STORAGES} | {f"torch.{name}" for name in _DTYPES}
)

_LITERALS: Final = frozenset(
    {
        *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    }
)


def _global(machine: _Machine, argument: str) -> None:
    module, _, attribute = argument.partition(" ")
    machine.name(module, attribute)


_STEPS: Final[dict[str, Callable[[_Machine, Any], object]]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.dict_to_mark(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "PUT": lambda machine, index: machine.put(index),
    "BINPUT": lambda machine, index: machine.put(index),
    "LONG_BINPUT": lambda machine, index: machine.put(index),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda machine, _: machine.stack_name(),
    "NEWOBJ": lambda machine, _: machine.new_object(),
    "BUILD": lambda machine, _: machine.build(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}
