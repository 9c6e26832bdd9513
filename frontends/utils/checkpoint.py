"""Activations computed again in the backward pass instead of being kept: PyTorch's `torch.utils.checkpoint`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from adjit.autograd.engine import check_version
from adjit.autograd.graph import saved_tensors_hooks
from adjit.autograd.modes import enable_grad
from adjit.autograd.record import value_of
from adjit.autograd.tape import Saved, TapeNode
from adjit.generator import fork_rng, get_rng_state, set_rng_state
from adjit.ir.primitive import primitive_named
from adjit.state import STATE, user_location
from adjit.tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "noop_context_fn"]

_UNSTATED = (
    "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling "
    "checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
    "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
    "differences between the two variants."
)


class CheckpointError(RuntimeError):
    """The function did something else when it was run again."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that change nothing."""
    return nullcontext(), nullcontext()


class _Place:
    """Where a value that was not kept comes back to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Tensor | None = None


class _Run:
    """One checkpointed call: the places of what it would have kept, and how to fill them."""

    def __init__(self, again: Callable[[], Any], inputs: Sequence[Any], context: Any, state: Tensor | None) -> None:
        self.again = again
        self.inputs = [_watched(tensor) for tensor in inputs if isinstance(tensor, Tensor)]
        self.node = TapeNode(primitive_named("call"), (), {}, (), user_location())  # stands for the call in messages
        self.context = context
        self.state = state
        self.autocast = STATE.autocast
        self.places: list[_Place] = []

    def leave(self, tensor: Tensor) -> _Place:
        """Keep a place instead of a tensor."""
        self.places.append(_Place())
        return self.places[-1]

    def fetch(self, place: _Place) -> Tensor:
        """The tensor for a place; the first one asked for makes all of them."""
        if place.value is None:
            before, STATE.autocast = STATE.autocast, self.autocast
            try:
                self._fill()
            finally:
                STATE.autocast = before
        found = place.value
        if found is None:
            raise CheckpointError("torch.utils.checkpoint: a tensor that forward saved was not saved when it ran again")
        return found

    def _fill(self) -> None:
        for kept in self.inputs:
            check_version(kept, self.node)
        made: list[Tensor] = []

        def take(tensor: Tensor) -> Tensor:
            made.append(tensor.detach())
            return tensor

        with fork_rng(enabled=self.state is not None), self.context, enable_grad():
            if self.state is not None:
                set_rng_state(self.state)
            with saved_tensors_hooks(take, lambda tensor: tensor):
                self.again()
        if len(made) != len(self.places):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.places)}\n"
                f"Number of tensors saved during recomputation: {len(made)}."
            )
        for place, tensor in zip(self.places, made, strict=True):
            place.value = tensor


def _watched(tensor: Tensor) -> Saved:
    """An input with the version that its memory has."""
    assert tensor._array is not None
    memory = tensor._memory
    return Saved(tensor._array, tensor._dtype, value_of(tensor), tensor.requires_grad, memory, memory.version)


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn, determinism_check: str = "default",
    debug: bool = False, early_stop: bool = True, preserve_rng_state: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, of which nothing is kept for the backward pass: it runs again there.

    The random state of the first run is restored for the second one.  Both of PyTorch's variants work like the
    recommended one here.  A compiled program does the same: its backward pass runs the function again.
    """
    if use_reentrant is None:
        warnings.warn(_UNSTATED, UserWarning, stacklevel=2)
    if use_reentrant is not False and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if not STATE.recording:
        return function(*args, **kwargs)
    if STATE.tracer is not None:
        return _traced(partial(function, *args, **kwargs))
    first, second = context_fn()
    inputs = tuple(arg.detach().requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg for arg in args)
    state = get_rng_state() if preserve_rng_state else None
    run = _Run(lambda: function(*inputs, **kwargs), args, second, state)
    with first, saved_tensors_hooks(run.leave, run.fetch):
        return function(*args, **kwargs)


def _traced(function: Callable[[], Any]) -> Any:
    """A call in a trace: the only step of a loop that keeps what enters it."""
    from adjit import trees
    from adjit.control import scan

    rows = scan(lambda carry, _: (carry, function()), (), length=1, checkpoint=True)[1]
    return trees.mapped(lambda row: row[0], rows)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True
) -> Any:
    """Functions (or a Sequential) one after another, in `segments` parts of which all but the last are checkpointed."""
    if use_reentrant is None:
        warnings.warn(_UNSTATED.replace("checkpoint:", "checkpoint_sequential:"), UserWarning, stacklevel=2)
        use_reentrant = True
    layers = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(layers) // segments

    def part(some: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for layer in some:
                value = layer(value)
            return value

        return run

    for index in range(segments - 1):
        chunk = part(layers[index * size : (index + 1) * size])
        input = checkpoint(chunk, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return part(layers[(segments - 1) * size :])(input)
