"""Torch's calls answered by adjit: what lets torch's own test samples run on adjit's functions.

A `Stand` stands for an adjit tensor in a call of torch's.  Torch hands every public function that meets one to
`__torch_function__`, and the function of the same name in adjit is called instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.testing._internal import common_methods_invocations as database

import adjit


class Missing(Exception):
    """adjit has no function of this name."""


class Unsupported(Exception):
    """The sample has something that adjit does not claim: sparse layouts, other devices, quantized numbers."""


class Stand:
    """An adjit tensor in the place of a torch tensor."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(function, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        try:
            found = getattr(self.tensor, name)
        except AttributeError as error:
            if hasattr(torch.Tensor, name):
                raise Missing(f"Tensor.{name}") from error
            raise
        return _wrapped(found) if callable(found) else stand(found)

    def __iter__(self) -> Any:
        return iter([stand(part) for part in self.tensor])

    __hash__ = object.__hash__


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: stand(function(*ours(args), **ours(kwargs)))


def _special(name: str) -> Callable[..., Any]:
    return lambda self, *args: stand(getattr(self.tensor, name)(*ours(args)))


_OPERATORS = (
    "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift radd rsub rmul rtruediv rfloordiv rmod rpow "
    "rmatmul rand ror rxor eq ne lt le gt ge neg pos abs invert getitem len bool int float index contains"
)
for _name in _OPERATORS.split(" "):
    setattr(Stand, f"__{_name}__", _special(f"__{_name}__"))


class Factories(TorchFunctionMode):
    """Functions that take no tensor (`torch.zeros`, ...) are answered by adjit as well."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(function, args, kwargs or {})


def answer(function: Any, args: Any, kwargs: Any) -> Any:
    """The result of adjit's function of the same name."""
    return stand(resolve(function)(*ours(args), **ours(kwargs)))


_NAMES = {"torch.functional.": "torch.", "torch._C._nn.": "torch.nn.functional."}


def resolve(function: Any) -> Callable[..., Any]:
    """adjit's function for one of torch's."""
    name = resolve_name(function) or f"torch.{getattr(function, '__name__', function)}"
    for old, new in _NAMES.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
    if name.endswith(".__get__"):
        attribute = name.split(".")[-2]
        return lambda tensor: getattr(tensor, attribute)
    return named(name)


def named(name: str) -> Callable[..., Any]:
    """adjit's function under torch's dotted name."""
    try:
        found: Callable[..., Any] = reduce(getattr, name.removeprefix("torch.").split("."), adjit)
    except (AttributeError, ModuleNotFoundError) as error:
        raise Missing(name) from error
    return found


# -- values from torch to adjit, and the marks between them -----------------------------------------------------------
def ours(value: Any) -> Any:
    """Stands, torch's tensors and torch's dtypes inside `value` as adjit's."""
    if isinstance(value, Stand):
        return value.tensor
    if isinstance(value, torch.Tensor):
        return converted(value)
    if isinstance(value, torch.dtype):
        try:
            return getattr(adjit, str(value).removeprefix("torch."))
        except AttributeError as error:
            raise Unsupported(str(value)) from error
    if isinstance(value, torch.device):
        if value.type != "cpu":
            raise Unsupported(str(value))
        return "cpu"
    if isinstance(value, (torch.memory_format, torch.layout)):
        try:
            return getattr(adjit, str(value).removeprefix("torch."))
        except AttributeError as error:
            raise Unsupported(str(value)) from error
    if isinstance(value, torch.Generator):
        return adjit.Generator().manual_seed(value.initial_seed())
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, torch.nn.Module):
        return getattr(adjit.nn, type(value).__name__)()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(ours, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(ours, value))
    if isinstance(value, dict):
        return {key: ours(item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(ours(value.start), ours(value.stop), ours(value.step))
    return value


def converted(tensor: torch.Tensor, storages: dict[Any, Any] | None = None) -> Any:
    """An adjit tensor with the same numbers, strides and `requires_grad`; `storages` has the memory made so far."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise Unsupported(f"{tensor.dtype} {tensor.layout} {tensor.device}")
    plain = tensor.detach().resolve_conj().resolve_neg()
    if tensor.ndim > 64:
        raise Unsupported("more than NumPy's 64 dimensions")
    if not hasattr(adjit, str(tensor.dtype).removeprefix("torch.")):
        raise Unsupported(str(tensor.dtype))
    if tensor.dtype is torch.bfloat16:
        result = adjit.from_numpy(plain.float().numpy()).to(adjit.bfloat16)
    else:
        known = {} if storages is None else storages
        bytes_there = plain.untyped_storage()
        key = (bytes_there.data_ptr(), bytes_there.nbytes(), tensor.dtype)
        if key not in known or not key[0]:
            size = bytes_there.nbytes() // plain.element_size()
            if size < plain.numel() and 0 not in plain.stride():
                raise Unsupported("a tensor without memory")
            known[key] = adjit.from_numpy(np.array(plain.as_strided((size,), (1,), 0).numpy())).untyped_storage()
        result = adjit.empty(0, dtype=getattr(adjit, str(tensor.dtype).removeprefix("torch.")))
        result.set_(known[key], plain.storage_offset(), tuple(plain.shape), plain.stride())
    return result.requires_grad_() if tensor.requires_grad else result


def stand(value: Any) -> Any:
    """adjit's tensors inside `value` as stands."""
    if isinstance(value, adjit.Tensor):
        return Stand(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(stand, value))
    if type(value) in (tuple, list):
        return type(value)(map(stand, value))
    return value


def exchanged(sample: Any, known: dict[Any, Any]) -> Any:
    """The sample's values with each torch tensor replaced by its stand, the same for the same tensor."""
    if isinstance(sample, torch.Tensor):
        if id(sample) not in known:
            known[id(sample)] = Stand(converted(sample, known))
        return known[id(sample)]
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*(exchanged(item, known) for item in sample))
    if isinstance(sample, torch.Size):
        return tuple(sample)
    if isinstance(sample, (tuple, list)):
        return type(sample)(exchanged(item, known) for item in sample)
    if isinstance(sample, dict):
        return {key: exchanged(item, known) for key, item in sample.items()}
    if isinstance(sample, slice):
        return slice(*(exchanged(item, known) for item in (sample.start, sample.stop, sample.step)))
    return sample


def call(function: Any, args: Any, kwargs: Any) -> Any:
    """What torch's `function` gives when adjit answers for it."""
    if isinstance(function, _METHODS):
        return stand(named(f"torch.Tensor.{function.__name__}")(*ours(args), **ours(kwargs)))
    for home in _IN_PYTHON:
        if getattr(function, "__module__", "").startswith(home):
            return stand(named(f"{home}.{function.__name__}")(*ours(args), **ours(kwargs)))
    with Factories():
        return function(*args, **kwargs)


# Torch's functions that are Python code which looks into its arguments itself.
_IN_PYTHON = ("torch.masked", "torch.signal.windows")
_METHODS = (type(torch.Tensor.add), type(torch.Tensor.__getitem__))
_seeded = database.wrapper_set_seed


def _seeded_call(op: Any, *args: Any, **kwargs: Any) -> Any:
    """The database's call with a fixed seed, which torch's methods do not take a stand in."""
    if isinstance(op, _METHODS) and args and isinstance(args[0], Stand):
        adjit.manual_seed(42)
        return call(op, args, kwargs)
    return _seeded(op, *args, **kwargs)


database.wrapper_set_seed = _seeded_call


def tensors_in(value: Any, kind: type) -> list[Any]:
    """The tensors of `kind` in `value`, first found first."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        return [found for item in value.values() for found in tensors_in(item, kind)]
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in tensors_in(item, kind)]
    return []


__all__ = ["Missing", "Stand", "Unsupported", "call", "exchanged", "ours", "tensors_in"]
