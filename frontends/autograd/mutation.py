"""`allow_mutation_on_saved_tensors`: what is saved for backward passes may be written, and is copied before it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from adjit.autograd.forward_ad import writes
from adjit.autograd.modes import no_grad
from adjit.memory import Memory
from adjit.overrides import TorchFunctionMode
from adjit.state import STATE
from adjit.tensor import Tensor

_NESTED = "allow_mutation_on_saved_tensors contexts cannot be nested"
_OUTSIDE = (
    "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context"
    "in which the graph was originally recorded."
)
_UNSEEN = (
    "one of the variables needed for gradient computation has been modified by an inplace operation that "
    "allow_mutation_on_saved_tensors does not see: only functions and methods of tensors may write to it"
)


class _Held:
    """A saved tensor: in its own memory, as that was at `version`, or a copy."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.version = tensor._memory.version


class _CopiesOnWrite(TorchFunctionMode):
    """Copies what was saved of a tensor's memory before a function writes there."""

    def __init__(self) -> None:
        self.held: WeakKeyDictionary[Memory, WeakSet[_Held]] = WeakKeyDictionary()
        self.is_open = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = kwargs.get("out")
        for tensor in (*args[: writes(func)], *(out if isinstance(out, (tuple, list)) else (out,))):
            if isinstance(tensor, Tensor):
                self._keep(tensor._memory)
        return func(*args, **kwargs)

    def _keep(self, memory: Memory) -> None:
        with no_grad():
            for held in tuple(self.held.pop(memory, ())):
                held.tensor = held.tensor.clone()
                held.version = held.tensor._memory.version

    def pack(self, tensor: Tensor) -> _Held:
        """What is kept of a tensor."""
        held = _Held(tensor)
        self.held.setdefault(tensor._memory, WeakSet()).add(held)
        return held

    def unpack(self, held: _Held) -> Tensor:
        """The tensor as it was saved.  Errors: AssertionError outside the context; RuntimeError for unseen writes."""
        if not self.is_open:
            raise AssertionError(_OUTSIDE)
        if held.version != held.tensor._memory.version:
            raise RuntimeError(_UNSEEN)
        found: Tensor = held.tensor.clone()  # a recorded pass may hold on to it
        return found


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """Inside, tensors that were saved for a backward pass may be written: the pass finds them as they were.

    The backward pass must be inside, too.  Errors: RuntimeError for one such block in another.

    >>> import adjit as torch
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     x = torch.ones(2, requires_grad=True)
    ...     y = x.clone()
    ...     total = (y**2).sum()
    ...     y = y.sin_()
    ...     total.backward()
    >>> x.grad
    tensor([2., 2.])
    """
    if any(isinstance(getattr(pack, "__self__", None), _CopiesOnWrite) for pack, _ in STATE.packing):
        raise RuntimeError(_NESTED)
    from adjit.autograd.graph import saved_tensors_hooks

    mode = _CopiesOnWrite()
    try:
        with mode, saved_tensors_hooks(mode.pack, mode.unpack):
            yield
    finally:
        mode.is_open = False
