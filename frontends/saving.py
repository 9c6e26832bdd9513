"""`adjit.save` and `adjit.load`: objects full of tensors in safetensors files, which hold data and no code.

A dictionary of tensors becomes a plain safetensors file that other tools read.  What else the object holds (lists,
numbers, the state of an optimizer) stands as JSON in the file's metadata.  Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from adjit.conversion import concrete
from adjit.device import device
from adjit.ir.errors import ModelFormatError
from adjit.ir.types import BF16, BOOL, C64, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType
from adjit.memory import Memory
from adjit.nn.parameter import Buffer, Parameter
from adjit.structure import Decoder, Encoder, read
from adjit.tensor import Tensor

_NAMES: dict[DType, str] = {
    F64: "F64", F32: "F32", F16: "F16", BF16: "BF16", I64: "I64", I32: "I32", I16: "I16", I8: "I8", U8: "U8",
    U16: "U16", U32: "U32", U64: "U64", BOOL: "BOOL", C64: "C64",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_ARRAYS = {dtype.storage: name for name, dtype in _DTYPES.items() if dtype is not BF16}
_METADATA = "__metadata__"
_MOST_HEADER = 100_000_000  # bytes, the limit of safetensors' own readers

_CONVERT = (
    "PyTorch itself converts it:\n"
    "    import torch, safetensors.torch\n"
    "    safetensors.torch.save_file(torch.load('old.pt', weights_only=True), 'new.safetensors')"
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, most likely written by torch.save, with a pickle inside"),
    (b"\x80", "a pickle"),
    (b"\x93NUMPY", "a NumPy array; numpy.load reads it, and adjit.from_numpy takes it"),
    (b"\x89HDF", "an HDF5 file"),
    (b"func @", "a program; adjit.load_program reads it"),
)


# -- writing ----------------------------------------------------------------------------------------------------------
def save(
    obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: int | None = None,
    _use_new_zipfile_serialization: bool = True,
) -> None:  # fmt: skip
    """Write an object to a path or an open binary file, as a safetensors file.

    It may hold tensors, parameters, NumPy arrays, numbers, strings, None, lists, tuples, sets and dictionaries.
    Tensors that share all of their memory share it again after `load`.  The arguments beside `f` are PyTorch's.

    Errors: TypeError for other objects, such as a whole module: save its `state_dict()`.
    """
    contents: dict[str, tuple[str, np.ndarray]] = {}
    known: dict[Any, str] = {}

    def put(value: Any, path: str) -> str:
        name, array, key = _stored(value)
        if key not in known:
            known[key] = _free(path or "data", contents)
            contents[known[key]] = (name, array)
        return known[key]

    structure = json.dumps(Encoder(put).encode(obj), separators=(",", ":"), allow_nan=False)
    parts = _file_parts(contents, {"format": "adjit", "adjit.structure": structure})
    if isinstance(f, (str, os.PathLike)):
        _write_path(Path(f), parts)
    elif hasattr(f, "write"):
        for part in parts:
            f.write(part)
    else:
        raise AttributeError(f"expected 'f' to be string, path, or a file-like object with a 'write' attribute: {f!r}")


def _stored(value: Any) -> tuple[str, np.ndarray, Any]:
    """The dtype's name in the file, the array, and what tells the same memory apart from other memory."""
    if isinstance(value, Tensor):
        array = concrete(value, "save()")
        if value._dtype not in _NAMES:
            raise TypeError(
                f"a file of tensors has no {value._dtype.long_name}\n  hint: save its parts, view_as_real(x), and "
                "make the numbers again with view_as_complex"
            )
        place = (array.__array_interface__["data"][0], array.shape, array.strides) if array.size else id(value)
        return _NAMES[value._dtype], array, (id(value._memory), value._dtype, place)
    if value.dtype not in _ARRAYS:
        raise TypeError(f"an array of dtype {value.dtype} has no place in a file of tensors")
    return _ARRAYS[value.dtype], value, id(value)


def _free(path: str, taken: dict[str, Any]) -> str:
    """A name that no tensor has yet."""
    name, count = path, 2
    while name in taken or name == _METADATA:
        name, count = f"{path}#{count}", count + 1
    return name


def _file_parts(contents: dict[str, tuple[str, np.ndarray]], metadata: dict[str, str]) -> list[Any]:
    """The pieces of a safetensors file: the header's length, the header, the arrays, the most aligned first."""
    order = sorted(contents, key=lambda name: -contents[name][1].itemsize)
    header: dict[str, Any] = {}
    arrays, offset, checksum = [], 0, 0
    for name in order:
        kind, array = contents[name]
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + flat.nbytes]}
        offset += flat.nbytes
        checksum = zlib.crc32(flat.data, checksum)
        arrays.append(flat.data)
    header = {_METADATA: {**metadata, "adjit.crc32": str(checksum)}, **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST_HEADER:
        raise ValueError(f"{len(text)} bytes beside the tensors are more than the {_MOST_HEADER} that a file may have")
    return [len(text).to_bytes(8, "little"), text, *arrays]


def _write_path(path: Path, parts: Sequence[Any]) -> None:
    """Write a file whole or not at all: what was there stays until the new one is complete."""
    folder = path.parent
    if not folder.is_dir():
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# -- reading ----------------------------------------------------------------------------------------------------------
def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None,
    mmap: bool | None = None, **pickle_load_args: Any,
) -> Any:  # fmt: skip
    """The object that `save` wrote to a path or an open binary file; of other safetensors files, their tensors.

    `map_location` may name the CPU.  `weights_only`, `mmap` and the arguments for pickles are accepted and change
    nothing: no file is unpickled.  Errors: ModelFormatError for a damaged file, and for one of another format.
    """
    _check_location(map_location)
    if pickle_module is not None:
        raise TypeError("adjit.load reads no pickles: leave out pickle_module")
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _read(file)
    if not hasattr(f, "read"):
        raise AttributeError(f"expected 'f' to be string, path, or a file-like object with a 'read' attribute: {f!r}")
    return _read(f)


def _check_location(location: Any) -> None:
    targets: Sequence[Any] = list(location.values()) if isinstance(location, dict) else [location]
    for target in targets:
        if target is not None and not callable(target):
            device(target).require()


def _read(file: IO[bytes]) -> Any:
    data = _whole_file(file)
    tensors = _tensors_in(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get(_METADATA, {})
    if "adjit.crc32" in metadata and metadata["adjit.crc32"] != str(zlib.crc32(_body(data))):
        raise ModelFormatError("the tensors in the file are damaged: their checksum is another one")
    memories = {name: _memory(name, info) for name, info in tensors}
    if "adjit.structure" not in metadata:
        return {name: Tensor._wrap(memory.array, memory.dtype, memory=memory) for name, memory in memories.items()}
    return read(metadata["adjit.structure"], Decoder(_getter(memories), _wrapper(memories)))


def _body(data: bytes) -> memoryview:
    return memoryview(data)[8 + int.from_bytes(data[:8], "little") :]


def _whole_file(file: IO[bytes]) -> bytes:
    """The bytes of one safetensors file, from the present position on; another may follow."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > _MOST_HEADER:
        raise _no_safetensors(start, "it does not begin with the length of its header")
    text = file.read(length)
    try:
        header = json.loads(text)
        size = max((info["data_offsets"][1] for name, info in header.items() if name != _METADATA), default=0)
        if type(size) is not int or not 0 <= size < 2**62:
            raise ValueError("offsets are no sizes")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _no_safetensors(start, f"its header cannot be read: {str(error)[:200]}") from error
    return start + text + file.read(size)


def _no_safetensors(start: bytes, why: str) -> ModelFormatError:
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            rule = "adjit reads safetensors files, which cannot run code."
            return ModelFormatError(f"this is {what}\n  {rule}  {_CONVERT}")
    return ModelFormatError(f"this is no safetensors file: {why}")


def _tensors_in(data: bytes) -> Sequence[tuple[str, dict[str, Any]]]:
    """The tensors of a file, checked by the safetensors library."""
    import safetensors

    try:
        found: Sequence[tuple[str, dict[str, Any]]] = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise ModelFormatError(f"the file is damaged: {error}") from error
    return found


def _memory(name: str, info: dict[str, Any]) -> Memory:
    dtype = _DTYPES.get(info["dtype"])
    if dtype is None:
        raise ModelFormatError(f"tensor {name!r} has dtype {info['dtype']}, which adjit does not have")
    array = np.frombuffer(bytearray(info["data"]), dtype.storage).reshape(info["shape"])
    return Memory(array, dtype)


def _getter(memories: dict[str, Memory]) -> Callable[[str], np.ndarray]:
    def get(name: str) -> np.ndarray:
        found = _named(memories, name).array
        assert found is not None
        return found

    return get


def _wrapper(memories: dict[str, Memory]) -> Callable[[str, str, bool], Tensor]:
    classes: dict[str, type[Tensor]] = {"tensor": Tensor, "parameter": Parameter, "buffer": Buffer}

    def wrap(name: str, kind: str, requires_grad: bool) -> Tensor:
        memory = _named(memories, name)
        found = Tensor._wrap(memory.array, memory.dtype, memory=memory, cls=classes[kind])
        if requires_grad:
            found.requires_grad_()
        return found

    return wrap


def _named(memories: dict[str, Memory], name: str) -> Memory:
    if name not in memories:
        raise ModelFormatError(f"the file's structure names the tensor {name!r}, which is not in the file")
    return memories[name]
