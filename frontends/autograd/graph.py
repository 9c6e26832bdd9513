"""The recorded graph in the user's hands: nodes, edges, hooks on several gradients, hooks on what is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from adjit.autograd.grad_fn import AccumulateGrad, GradFn
from adjit.autograd.mutation import allow_mutation_on_saved_tensors
from adjit.autograd.record import value_of
from adjit.autograd.tape import Packed, Saved
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.utils.hooks import Handles, RemovableHandle

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip

Node = GradFn


class GradientEdge(NamedTuple):
    """A function of the backward graph, and the number of one of its results."""

    node: GradFn
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge that a tensor's gradient arrives by.  Errors: RuntimeError if it does not require grad."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    function = tensor.grad_fn
    if function is None:
        return GradientEdge(AccumulateGrad(tensor), 0, tensor)
    return GradientEdge(function, value_of(tensor).index, tensor)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Count a write to the tensor's memory that was not made through tensors."""
    for each in (tensor,) if isinstance(tensor, Tensor) else tensor:
        each._memory.version += 1


# -- saved tensors ----------------------------------------------------------------------------------------------------
class saved_tensors_hooks:
    """What is saved for backward passes `pack_hook` on its way in and `unpack_hook` on its way out.

    A compiled program saves its values itself: hooks do not see them.
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if STATE.hooks_disabled is not None:
            raise RuntimeError(STATE.hooks_disabled)
        STATE.packing = (*STATE.packing, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *exception: object) -> None:
        STATE.packing = STATE.packing[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Keep what is saved in the memory of the host, where it is already."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda tensor: tensor.clone(), lambda packed: packed)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, hooks on what is saved are an error with this text."""
    if STATE.packing:
        raise RuntimeError(error_message)
    before, STATE.hooks_disabled = STATE.hooks_disabled, error_message
    try:
        yield
    finally:
        STATE.hooks_disabled = before


def packed(tensor: Tensor, kept: Saved) -> Saved:
    """`kept` in the form that the innermost hooks give it."""
    pack, unpack = STATE.packing[-1]
    hooks, STATE.packing = STATE.packing, ()
    version = tensor._memory.version
    recording, STATE.recording = STATE.recording, False
    try:
        if tensor._memory is STATE.overwritten and tensor._array is not None:
            shown = Tensor._wrap(tensor._array.copy(), tensor._dtype, type=tensor._tensor_type)
        else:
            shown = Tensor._wrap(tensor._array, tensor._dtype, memory=tensor._memory, type=tensor._tensor_type)
        form = pack(shown)
    finally:
        STATE.packing, STATE.recording = hooks, recording
    if tensor._memory.version != version:
        raise RuntimeError(
            "A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook cannot "
            "be modified by in-place operations as this can lead to unexpected side-effects. Please open an issue if "
            "you need to perform in-place operations on the input to a pack hook."
        )
    return Packed(form, lambda item: _unpacked(unpack, item), kept)


def _unpacked(unpack: Callable[[Any], Tensor], form: Any) -> np.ndarray:
    found = unpack(form)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(found).__name__}"
        )
    assert found._array is not None
    return found._array


# -- hooks on several gradients ---------------------------------------------------------------------------------------
def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all"
) -> RemovableHandle:
    """Call `fn` in each backward pass: with all the tensors' gradients when the last has come, or with the first.

    Gradients that do not come are None.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    seen: WeakKeyDictionary[Any, list[Tensor | None]] = WeakKeyDictionary()  # by backward pass

    def arrived(index: int, gradient: Tensor) -> None:
        found = seen.setdefault(STATE.sweep, [None] * len(tensors))
        found[index] = gradient
        if sum(item is not None for item in found) == sum(map(STATE.sweep.reaches, tensors)):
            fn(found)

    def first(gradient: Tensor) -> None:
        if STATE.sweep not in seen:
            seen[STATE.sweep] = []
            fn(gradient)

    if mode == "any":
        return Handles([tensor.register_hook(first) for tensor in tensors])
    return Handles([tensor.register_hook(partial(arrived, index)) for index, tensor in enumerate(tensors)])
