"""No weight file runs code: every hostile file is refused, by name, without a trace."""

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from napari_cytosae.errors import CheckpointError, UnsafeCheckpointError
from napari_cytosae.models import load_backbone, load_sae
from napari_cytosae.models.checkpoints import read_checkpoint, take_tensors

PROTO, STOP = b"\x80\x02", b"."
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(8, "little", signed=True)
    return b"\x8a\x08" + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def storage(kind: bytes = name("torch", "FloatStorage"), key: str = "0", count: int = 4) -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    size: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    source: bytes | None = None,
    hooks: bytes = b"}",
) -> bytes:
    sizes = b"(" + b"".join(map(number, size)) + b"t"
    strides = b"(" + b"".join(map(number, stride)) + b"t"
    return call(
        "torch._utils", "_rebuild_tensor_v2",
        storage() if source is None else source, number(offset), sizes, strides, b"\x89", hooks,
    )  # fmt: skip


def state(*values: bytes) -> bytes:
    """A pickle of {"0": value, "1": value, …}."""
    items = b"".join(text(str(index)) + value for index, value in enumerate(values))
    return PROTO + b"}(" + items + b"u" + STOP


def archive(
    path: Path,
    data: bytes,
    members: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write what torch.save writes, around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        for member, content in (members or {"archive/data/0": FLOATS}).items():
            file.writestr(member, content)
    return path


class Reduced:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def touch(sentinel: Path) -> str:
    return f"touch {sentinel}" if os.name != "nt" else f"type nul > {sentinel}"


# Each takes the file to write and a file that must not come into being.
Hostile = Callable[[Path, Path], object]
UNSAFE: dict[str, tuple[str, Hostile]] = {}  # name: (what the message must contain, writer)


def unsafe(offender: str) -> Callable[[Hostile], Hostile]:
    def register(write: Hostile) -> Hostile:
        UNSAFE[write.__name__] = (offender, write)
        return write

    return register


@unsafe("system")
def os_system(path, sentinel):
    archive(path, pickle.dumps({"a": Reduced(os.system, touch(sentinel))}, protocol=2))


@unsafe("system")
def os_system_in_the_newest_protocol(path, sentinel):
    archive(path, pickle.dumps({"a": Reduced(os.system, touch(sentinel))}, protocol=5))


@unsafe("builtins.eval")
def builtins_eval(path, sentinel):
    code = f"open({str(sentinel)!r}, 'w')"
    archive(path, state(call("builtins", "eval", text(code))))


@unsafe("__builtin__.eval")
def builtins_as_python_2_calls_them(path, sentinel):
    archive(path, state(call("__builtin__", "eval", text(f"open({str(sentinel)!r}, 'w')"))))


@unsafe("builtins.exec")
def builtins_exec(path, sentinel):
    code = f"open({str(sentinel)!r}, 'w')"
    archive(
        path, pickle.dumps(Reduced(exec, code), protocol=2).replace(b"__builtin__", b"builtins")
    )


@unsafe("subprocess.check_output")
def a_subprocess(path, sentinel):
    command = [sys.executable, "-c", f"open({str(sentinel)!r}, 'w')"]
    archive(path, pickle.dumps(Reduced(subprocess.check_output, command), protocol=4))


@unsafe("subprocess.Popen")
def a_class_of_the_standard_library_as_if_it_were_unknown(path, sentinel):
    archive(path, state(name("subprocess", "Popen") + b")\x81" + b"}" + b"b"))


@unsafe("posix.system")
def the_module_behind_os(path, sentinel):
    archive(path, state(call("posix", "system", text(touch(sentinel)))))


@unsafe("os.system")
def a_function_named_but_not_called(path, sentinel):
    archive(path, state(name("os", "system")))


@unsafe("importlib.import_module")
def an_import(path, sentinel):
    archive(path, state(call("importlib", "import_module", text("antigravity"))))


@unsafe("builtins.__import__")
def the_import_statement(path, sentinel):
    archive(path, state(call("builtins", "__import__", text("os"))))


@unsafe("builtins.getattr")
def getattr_of_an_allowed_thing(path, sentinel):
    found = call("builtins", "getattr", name("collections", "OrderedDict"), text("__init__"))
    archive(path, state(found))


@unsafe("torch._utils.os.system")
def a_dotted_name_below_an_allowed_module(path, sentinel):
    dotted = text("torch._utils") + text("os.system") + b"\x93"
    archive(path, state(dotted + b"(" + text(touch(sentinel)) + b"tR"))


@unsafe("torch._utils._rebuild_tensor_v2.__globals__")
def a_dotted_name_below_an_allowed_function(path, sentinel):
    dotted = text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93"
    archive(path, state(dotted))


@unsafe("torch.hub.load")
def another_function_of_an_allowed_package(path, sentinel):
    archive(path, state(call("torch.hub", "load", text("someone/else"), text("model"))))


@unsafe("torch.storage._load_from_bytes")
def a_pickle_in_a_pickle(path, sentinel):
    archive(path, state(call("torch.storage", "_load_from_bytes", text("x"))))


@unsafe("torch.load")
def torch_load(path, sentinel):
    archive(path, state(call("torch", "load", text("/tmp/other.pt"))))


@unsafe("numpy")
def a_numpy_array_of_objects(path, sentinel):
    import numpy as np

    objects = np.array([Reduced(os.system, touch(sentinel))], dtype=object)
    archive(path, pickle.dumps(objects, protocol=4))


@unsafe("copyreg._reconstructor")
def copyreg(path, sentinel):
    made = call("copyreg", "_reconstructor", name("os", "PathLike"), name("builtins", "object"))
    archive(path, state(made))


@unsafe("copyreg._reconstructor")
def copyreg_of_an_unknown_class(path, sentinel):
    archive(path, state(call("copyreg", "_reconstructor", name("their.config", "Config"))))


@unsafe("dill._dill._create_function")
def dill(path, sentinel):
    archive(path, state(call("dill._dill", "_create_function", text("code"))))


@unsafe("their.config.Config")
def an_unknown_class_that_is_called(path, sentinel):
    archive(path, state(call("their.config", "Config", text("argument"))))


@unsafe("their.config.Config")
def an_unknown_class_with_arguments_for_its_constructor(path, sentinel):
    archive(path, state(name("their.config", "Config") + text("argument") + b"\x85\x81"))


@unsafe("their.config.Config")
def an_inert_object_that_is_called(path, sentinel):
    inert = name("their.config", "Config") + b")\x81"
    archive(path, state(inert + b"(" + text("argument") + b"tR"))


@unsafe("__setstate__ of their.config.Config")
def an_inert_object_with_slots_to_set(path, sentinel):
    slots = b"}" + b"}(" + text("__class__") + text("x") + b"u" + b"\x86"
    archive(path, state(name("their.config", "Config") + b")\x81" + slots + b"b"))


@unsafe("__setstate__ of torch._utils._rebuild_tensor_v2")
def a_function_whose_attributes_are_set(path, sentinel):
    changed = b"}(" + text("__defaults__") + b")u"
    archive(path, state(name("torch._utils", "_rebuild_tensor_v2") + changed + b"b"))


@unsafe("collections.OrderedDict")
def an_allowed_function_used_as_a_class(path, sentinel):
    archive(path, state(name("collections", "OrderedDict") + b")\x81"))


@unsafe("INST")
def the_instruction_inst(path, sentinel):
    archive(path, PROTO + b"(" + text(touch(sentinel)) + b"ios\nsystem\n" + STOP)


@unsafe("OBJ")
def the_instruction_obj(path, sentinel):
    archive(path, PROTO + b"(" + name("their", "Class") + text(touch(sentinel)) + b"o" + STOP)


@unsafe("EXT1")
def the_instruction_ext(path, sentinel):
    archive(path, PROTO + b"\x82\x01" + STOP)


@unsafe("NEWOBJ_EX")
def the_instruction_newobj_ex(path, sentinel):
    archive(path, b"\x80\x04" + name("their", "Class") + b")}\x92" + STOP)


@unsafe("NEXT_BUFFER")
def the_instruction_next_buffer(path, sentinel):
    archive(path, b"\x80\x05\x97" + STOP)


@unsafe("PERSID")
def a_persistent_reference_in_text(path, sentinel):
    archive(path, PROTO + b"Psomething\n" + STOP)


@unsafe("persistent reference")
def a_persistent_reference_to_something_else(path, sentinel):
    archive(path, PROTO + b"(" + text("module") + text("os") + b"tQ" + STOP)


@unsafe("storage of type")
def a_storage_of_another_class(path, sentinel):
    archive(path, state(tensor(source=storage(kind=name("their", "Storage")))))


@unsafe("backward hooks")
def a_tensor_with_hooks(path, sentinel):
    hooks = b"}(" + number(0) + name("their", "hook") + b"u"
    archive(path, state(tensor(hooks=hooks)))


@unsafe("outside its storage")
def a_tensor_longer_than_its_storage(path, sentinel):
    archive(path, state(tensor(size=(5,))))


@unsafe("outside its storage")
def a_tensor_whose_stride_leads_out_of_its_storage(path, sentinel):
    archive(path, state(tensor(size=(2, 2), stride=(4, 1))))


@unsafe("outside its storage")
def a_tensor_whose_offset_leads_out_of_its_storage(path, sentinel):
    archive(path, state(tensor(size=(2,), offset=3)))


@unsafe("outside its storage")
def a_tensor_that_repeats_one_number_a_trillion_times(path, sentinel):
    archive(path, state(tensor(size=(2**40,), stride=(0,))))


@unsafe("is said to hold")
def a_storage_said_to_be_larger_than_it_is(path, sentinel):
    archive(path, state(tensor(size=(2**40,), source=storage(count=2**40))))


@unsafe("two descriptions")
def a_storage_described_twice(path, sentinel):
    wide = storage(kind=name("torch", "DoubleStorage"))
    archive(path, state(tensor(), tensor(source=wide)))


@unsafe("overlap")
def a_thousand_tensors_in_one_storage(path, sentinel):
    archive(path, state(*[tensor()] * 1000))


@unsafe("compressed")
def a_zip_bomb(path, sentinel):
    bomb = {"archive/data/0": bytes(2**24)}
    archive(path, state(tensor()), bomb, compression=zipfile.ZIP_DEFLATED)


@unsafe("two members")
def a_member_that_is_there_twice(path, sentinel):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", state())
        file.writestr("archive/data/0", FLOATS)
        file.writestr("archive/data/0", FLOATS[::-1])


@unsafe("'../evil'")
def a_member_outside_the_archive(path, sentinel):
    archive(path, state(tensor()), {"../evil": b"", "archive/data/0": FLOATS})


@unsafe("'archive/../../evil'")
def a_member_that_climbs_out_of_the_archive(path, sentinel):
    archive(path, state(tensor()), {"archive/../../evil": b"", "archive/data/0": FLOATS})


@unsafe("'/etc/passwd'")
def a_member_with_an_absolute_path(path, sentinel):
    archive(path, state(tensor()), {"/etc/passwd": b""})


@unsafe("2 archives")
def members_of_two_archives(path, sentinel):
    archive(path, state(tensor()), {"archive/data/0": FLOATS, "other/data/1": FLOATS})


@unsafe("larger than the file")
def a_member_said_to_be_larger_than_the_file(path, sentinel):
    archive(path, state(tensor()))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)


@unsafe("system")
def the_format_before_pytorch_1_6(path, sentinel):
    torch.save(
        {"a": Reduced(os.system, touch(sentinel))}, path, _use_new_zipfile_serialization=False
    )


@unsafe("system")
def a_bare_pickle(path, sentinel):
    path.write_bytes(pickle.dumps(Reduced(os.system, touch(sentinel))))


@pytest.mark.parametrize("hostile", UNSAFE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files_are_refused(tmp_path, hostile):
    offender, write = UNSAFE[hostile]
    path, sentinel = tmp_path / "hostile.pt", tmp_path / "sentinel"
    write(path, sentinel)
    modules = set(sys.modules)
    with pytest.raises(UnsafeCheckpointError) as caught:
        take_tensors(read_checkpoint(path), path)
    assert "hostile.pt" in str(caught.value)
    assert offender in str(caught.value)
    assert not sentinel.exists()
    assert not {"antigravity", "dill"} & (set(sys.modules) - modules)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hostile.pt"]


def truncated(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def truncated_old(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:2000])


def flipped(path: Path) -> None:
    torch.save({"a": torch.full((1000,), 3.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<f", 3.0) * 8) + 7] ^= 1
    path.write_bytes(content)


def safetensors(header: bytes, data: bytes = FLOATS, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(begin: int, end: int, count: int) -> bytes:
    return b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]}}' % (count, begin, end)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "an unpickled text": lambda path: path.write_bytes(pickle.dumps("hello")),
    "a web page": lambda path: path.write_bytes(b"<!DOCTYPE html><html>Not found</html>"),
    "a Git LFS pointer": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec"),
    "a truncated zip": truncated,
    "a truncated old file": truncated_old,
    "a flipped bit": flipped,
    "a zip of something else": lambda path: zipfile.ZipFile(path, "w").writestr("a/b", b"c"),
    "TorchScript": lambda path: archive(path, state(), {"archive/constants.pkl": state()}),
    "a big-endian file": lambda path: archive(path, state(), {"archive/byteorder": b"big"}),
    "a storage that is not there": lambda path: archive(path, state(tensor()), {"archive/x": b""}),
    "no end": lambda path: archive(path, PROTO + b"}"),
    "nothing on the stack": lambda path: archive(path, PROTO + STOP),
    "a memo that was never filled": lambda path: archive(path, PROTO + b"h\x07" + STOP),
    "a mark where a value should be": lambda path: archive(path, PROTO + b"((t0(q\x00" + STOP),
    "a negative size": lambda path: archive(path, state(tensor(size=(-4,)))),
    "a size that is no number": lambda path: archive(path, state(tensor(source=text("x")))),
    "an unhashable key": lambda path: archive(path, PROTO + b"}](" + b"}" + b"u" + STOP),
    "a key nested a million deep": lambda path: archive(
        path, PROTO + b"}(" + b")" + b"\x85" * 10**6 + b"Nu" + STOP
    ),
    "too few arguments": lambda path: archive(
        path, state(call("torch._utils", "_rebuild_tensor_v2", storage()))
    ),
    "a safetensors header longer than its file": lambda path: path.write_bytes(
        safetensors(one(0, 16, 4), length=2**40)
    ),
    "a safetensors tensor longer than its file": lambda path: path.write_bytes(
        safetensors(one(0, 2**40, 2**38))
    ),
    "a safetensors tensor with another length": lambda path: path.write_bytes(
        safetensors(one(0, 16, 2**30))
    ),
    "a safetensors header that is no JSON": lambda path: path.write_bytes(
        safetensors(b"{not JSON}")
    ),
}


def load_everything(path: Path) -> dict[str, torch.Tensor]:
    tensors = take_tensors(read_checkpoint(path), path)
    return {key: tensor.load() for key, tensor in tensors.items()}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "damaged.pt"
    DAMAGED[damage](path)
    with pytest.raises(CheckpointError, match=r"damaged\.pt"):
        load_everything(path)


@pytest.mark.parametrize("load", [load_sae, partial(load_backbone, block=0)])
def test_loading_a_model_refuses_them_too(tmp_path, load):
    path, sentinel = tmp_path / "hostile.pt", tmp_path / "sentinel"
    os_system(path, sentinel)
    with pytest.raises(UnsafeCheckpointError, match=r"hostile\.pt"):
        load(path)
    assert not sentinel.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt does not exist"):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path)


def test_a_deep_value_and_a_huge_memo_index_cost_nothing(tmp_path):
    # 2³¹ as a memo index makes Python's own unpickler reserve 32 GiB.
    deep = b"]" + b"\x85" * 100_000 + b"r\xff\xff\xff\x7f"
    path = archive(tmp_path / "deep.pt", state(deep, tensor()))
    tensors = take_tensors(read_checkpoint(path), path)
    assert tensors["1"].load().tolist() == [1, 2, 3, 4]


def test_a_hostile_name_does_not_garble_the_message(tmp_path):
    path = archive(tmp_path / "x.pt", state(call("evil\x1b[2J" + "x" * 5000, "f")))
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_checkpoint(path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_an_unknown_class_becomes_inert_data(tmp_path):
    inert = name("their.config", "Config") + b")\x81" + b"}(" + text("d_in") + number(64) + b"ub"
    content = read_checkpoint(archive(tmp_path / "x.pt", state(inert)))
    assert content["0"].class_path == "their.config.Config"
    assert content["0"].state == {"d_in": 64}


@pytest.mark.parametrize("new_format", [True, False])
def test_whatever_torch_saves_of_weights_is_read(tmp_path, new_format):
    base = torch.arange(24.0)
    saved = {
        "plain": base.view(4, 6),
        "transposed": torch.arange(6.0).view(2, 3).t(),
        "half": torch.tensor([1.5, -2.0]).half(),
        "brain": torch.tensor([1.5, -2.0]).bfloat16(),
        "double": torch.tensor([1.0, 1e-3], dtype=torch.float64),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "scalar": torch.tensor(5.0),
        "empty": torch.empty(0, 3),
    }
    path = tmp_path / "x.pt"
    torch.save(saved, path, _use_new_zipfile_serialization=new_format)
    found = take_tensors(read_checkpoint(path), path)
    assert found.keys() == saved.keys()
    for key, value in saved.items():
        assert torch.equal(found[key].load(), value.detach().float()), key


def test_tensors_saved_on_a_gpu_are_read(tmp_path):
    content = state(tensor()).replace(text("cpu"), text("cuda:3"))
    path = archive(tmp_path / "x.pt", content)
    assert take_tensors(read_checkpoint(path), path)["0"].load().tolist() == [1, 2, 3, 4]
