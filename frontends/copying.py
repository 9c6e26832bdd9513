"""Copies that keep what tensors share: `copy.deepcopy` and `pickle`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.conversion import concrete
from adjit.errors import explained
from adjit.ir.types import dtype_named
from adjit.memory import Memory
from adjit.runtime.layout import address_of
from adjit.tensor import Chain, Tensor

_NOT_A_LEAF = (
    "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If you "
    "were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
    "https://github.com/pytorch/pytorch/pull/103001"
)


def deep_copy(input: Tensor, memo: dict[int, Any]) -> Tensor:
    """A leaf's copy with its data, gradient and attributes; what shares memory with it shares its copy's."""
    found = memo.get(id(input))
    if found is not None:
        return found  # type: ignore[no-any-return]
    if not input.is_leaf:
        hint = "copy the numbers alone: {input}.detach().clone()"
        raise explained(RuntimeError, _NOT_A_LEAF, "deepcopy", {"input": input}, hint)
    concrete(input, "deepcopy()")
    memory, place = _parts(input)
    made = _placed(type(input), copy.deepcopy(memory, memo), place, input._chain)
    memo[id(input)] = made
    made._requires_grad = input.requires_grad
    made._grad = None if input._grad is None else copy.deepcopy(input._grad, memo)
    made.__dict__.update(copy.deepcopy(input.__dict__, memo))
    return made


def reduce_ex(input: Tensor, protocol: Any) -> tuple[Any, ...]:
    """What pickling keeps: memory and place in it, whether the tensor requires grad, attributes."""
    concrete(input, "pickling")
    memory, place = _parts(input)
    # Ops of the chain are pickled by name; the history stays behind, as in PyTorch.
    arguments = (type(input), memory, place, input._chain, input.requires_grad, dict(input.__dict__))
    return _rebuilt, arguments


def reduce_memory(memory: Memory) -> tuple[Any, ...]:
    """What pickling and copying keep of memory: the array and its dtype."""
    return _memory, (memory.array, memory.dtype.name)


def _memory(array: np.ndarray, name: str) -> Memory:
    return Memory(array, dtype_named(name))


# Offset in bytes, shape, strides in bytes; None for the whole memory as it is.
_Place = tuple[int, tuple[int, ...], tuple[int, ...]]


def _parts(input: Tensor) -> tuple[Memory, _Place | None]:
    """The tensor's memory and its place in it."""
    whole, part = input._memory.array, input._array
    assert whole is not None and part is not None
    if part is whole:
        return input._memory, None
    if not (whole.flags.c_contiguous and whole.size and part.size):
        # Memory with gaps is not kept in copies, nor is what shares it.
        return Memory(np.array(part, order="K"), input._dtype), None
    start = address_of(part) - address_of(whole)
    return input._memory, (start, part.shape, part.strides)


def _placed(cls: type[Tensor], memory: Memory, place: _Place | None, chain: Chain) -> Tensor:
    assert memory.array is not None
    if place is None:
        return Tensor._wrap(memory.array, memory.dtype, memory=memory, cls=cls)
    start, shape, strides = place
    flat = memory.array.reshape(-1).view(np.uint8)[start:]
    lead = flat[: flat.size // memory.dtype.itemsize * memory.dtype.itemsize].view(memory.dtype.storage)
    made = Tensor._wrap(np.lib.stride_tricks.as_strided(lead, shape, strides), memory.dtype, memory=memory, cls=cls)
    made._chain = chain
    return made


def _rebuilt(
    cls: type[Tensor],
    memory: Memory,
    place: _Place | None,
    chain: Chain,
    requires_grad: bool,
    attributes: dict[str, Any],
) -> Tensor:
    made = _placed(cls, memory, place, chain)
    made._requires_grad = requires_grad
    made.__dict__.update(attributes)
    return made


METHODS: dict[str, Callable[..., Any]] = {"__deepcopy__": deep_copy, "__reduce_ex__": reduce_ex}
__all__: list[str] = []
