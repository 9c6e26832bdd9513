"""Python data around tensors as JSON, exactly: what `adjit.save` writes beside the tensors of a file.

Numbers, strings, lists, tuples and dictionaries with keys of any of these come back equal and of the same type.  JSON's
own values stand for themselves; everything else is an object with one key that says what it is.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.device import device
from adjit.dtypes import dtype, public
from adjit.ir.errors import ModelFormatError
from adjit.ir.types import dtype_named
from adjit.nn.parameter import Buffer, Parameter
from adjit.size import Size
from adjit.tensor import Tensor

_MAPPINGS: dict[str, Callable[..., Any]] = {"dict": dict, "ordered_dict": OrderedDict, "counter": Counter}
_SEQUENCES: dict[str, Callable[..., Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "size": Size}
_KINDS = {kind: name for name, kind in [*_MAPPINGS.items(), *_SEQUENCES.items()]}


class Encoder:
    """Encodes one object; `put(value, path)` gives the name under which the file keeps a tensor or an array."""

    def __init__(self, put: Callable[[Any, str], str]) -> None:
        self.put = put
        self._tensors: dict[int, int] = {}
        self._open: set[int] = set()

    def encode(self, value: Any, path: str = "") -> Any:
        """The JSON of a value.  Errors: TypeError for what has no place in a file, ValueError for a cycle."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if kind is np.ndarray:
            return {"array": self.put(value, path)}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf":
            return {"number": [value.dtype.name, base64.b64encode(value.tobytes()).decode()]}
        if kind is complex:
            return {"complex": [self.encode(value.real), self.encode(value.imag)]}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if kind is dtype:
            return {"dtype": value.ir.name}
        if kind is device:
            return {"device": str(value)}
        if kind is not list and kind not in _KINDS:
            raise _unsaved(value, path)
        if id(value) in self._open:
            raise ValueError(f"{_place(path)} contains itself, which a file cannot say")
        self._open.add(id(value))
        try:
            if isinstance(value, dict):
                pairs = [[self.encode(key, path), self.encode(v, _join(path, key))] for key, v in value.items()]
                return {_KINDS[kind]: pairs}
            items = [self.encode(item, _join(path, index)) for index, item in enumerate(value)]
            return items if kind is list else {_KINDS[kind]: items}
        finally:
            self._open.discard(id(value))

    def _tensor(self, value: Tensor, path: str) -> dict[str, Any]:
        known = self._tensors.get(id(value))
        if known is not None:
            return {"same": known}
        self._tensors[id(value)] = len(self._tensors)
        if type(value) not in (Tensor, Parameter, Buffer):
            raise _unsaved(value, path)
        found: dict[str, Any] = {"tensor": self.put(value, path)}
        if type(value) is not Tensor:
            found["class"] = type(value).__name__.lower()
        if value.requires_grad:
            found["requires_grad"] = True
        return found


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _place(path: str) -> str:
    return f"the object at {path!r}" if path else "the object"


def _unsaved(value: Any, path: str) -> TypeError:
    hint = "save its numbers and tensors, in lists and dictionaries"
    if hasattr(value, "state_dict"):
        hint = f"save its state: adjit.save({path.rpartition('.')[2] or 'model'}.state_dict(), ...)"
    kind = type(value).__qualname__
    return TypeError(f"{_place(path)} is a {kind}, which a file of tensors cannot hold\n  hint: {hint}")


class Decoder:
    """Decodes one object; `get(name)` gives a tensor of the file as an array, `wrap` makes a tensor of its name."""

    def __init__(self, get: Callable[[str], np.ndarray], wrap: Callable[[str, str, bool], Tensor]) -> None:
        self.get = get
        self.wrap = wrap
        self._tensors: list[Tensor] = []

    def decode(self, found: Any) -> Any:
        """The value that JSON stands for.  Errors: ModelFormatError for what `Encoder` does not write."""
        if found is None or isinstance(found, (bool, int, float, str)):
            return found
        if isinstance(found, list):
            return [self.decode(item) for item in found]
        if not isinstance(found, dict) or not found:
            raise ModelFormatError(f"unknown value {found!r} in the file's structure")
        if "tensor" in found:
            return self._tensor(found)
        ((kind, content),) = found.items() if len(found) == 1 else (("", None),)
        if kind in _MAPPINGS and isinstance(content, list):
            return _MAPPINGS[kind](dict(self._pair(pair) for pair in content))
        if kind in _SEQUENCES and isinstance(content, list):
            return _SEQUENCES[kind]([self.decode(item) for item in content])
        if kind == "same" and isinstance(content, int) and 0 <= content < len(self._tensors):
            return self._tensors[content]
        if kind == "array" and isinstance(content, str):
            return self.get(content)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "complex" and isinstance(content, list) and len(content) == 2:
            return complex(self.decode(content[0]), self.decode(content[1]))
        if kind == "bytes" and isinstance(content, str):
            return base64.b64decode(content, validate=True)
        if kind == "number" and isinstance(content, list) and len(content) == 2:
            return np.frombuffer(base64.b64decode(content[1], validate=True), np.dtype(content[0]), 1)[0]
        if kind == "dtype" and isinstance(content, str):
            return public(dtype_named(content))
        if kind == "device" and isinstance(content, str):
            return device(content)
        raise ModelFormatError(f"unknown value {str(found)[:80]} in the file's structure")

    def _pair(self, pair: Any) -> tuple[Any, Any]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ModelFormatError(f"unknown pair {pair!r} in the file's structure")
        return self.decode(pair[0]), self.decode(pair[1])

    def _tensor(self, found: dict[str, Any]) -> Tensor:
        name, kind = found["tensor"], found.get("class", "tensor")
        if not isinstance(name, str) or kind not in ("tensor", "parameter", "buffer"):
            raise ModelFormatError(f"unknown tensor {found!r} in the file's structure")
        self._tensors.append(self.wrap(name, kind, found.get("requires_grad") is True))
        return self._tensors[-1]


def read(text: str, decoder: Decoder) -> Any:
    """The object that a structure's text stands for.  Errors: ModelFormatError."""
    try:
        return decoder.decode(json.loads(text))
    except ModelFormatError:
        raise
    except (ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise ModelFormatError(f"the file's structure cannot be read: {str(error)[:200]}") from error
