"""`Tensor`: data, its place in memory, and its place in the recorded graph.

Functions over tensors live in modules by subject; `adjit.methods` makes them methods.  This file holds what a tensor
is and what it knows of autograd.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from adjit.epoch import EPOCH
from adjit.errors import explained
from adjit.ir.graph import Attribute, Graph, Value
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Size
from adjit.ir.types import DType, TensorType
from adjit.memory import Memory
from adjit.state import STATE

if TYPE_CHECKING:
    from adjit.autograd.grad_fn import GradFn
    from adjit.trace import Tracer
    from adjit.utils.hooks import RemovableHandle

# A view's way from its memory: ops with attributes, first applied first.
Chain: TypeAlias = "tuple[tuple[Primitive, tuple[tuple[str, Attribute], ...]], ...]"

_NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
    "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, "
    "use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the "
    "leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more information."
)


class Tensor:
    """An n-dimensional array that can be recorded, traced and differentiated.

    Made by `adjit.tensor` and the other creation functions.  `_array` is a NumPy view of the memory, absent in a trace;
    `_base` and `_chain` say how a view comes from the tensor it is a view of; `_value` is the tensor's value in the
    recorded graph, valid while `_seen` equals the base's `_history` (in a trace: while `_epoch` equals its memory's).
    """

    __slots__ = (
        "__dict__", "__weakref__", "_array", "_base", "_chain", "_dtype", "_epoch", "_grad", "_history", "_leaf",
        "_memory", "_requires_grad", "_seen", "_strides", "_tracer", "_type", "_value",
    )  # fmt: skip

    # Binary operators of NumPy arrays defer to ours.
    __array_priority__ = 1000

    _array: np.ndarray | None
    # Whether it is a Python number that a trace does not know (capture/numbers.py), and whether comparisons of it with
    # constants are answered all the same (told_numbers.py).
    _is_number = _answers = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        from adjit.creation import legacy_tensor

        made = legacy_tensor(*args, **kwargs)
        return made if cls is Tensor else made.as_subclass(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] != "adjit":
            from adjit.overrides import adopt

            adopt(cls)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """func(*args, **kwargs), with tensors of the subclass as results; subclasses may override it."""
        from adjit.overrides import default

        return default(cls, func, types, args, kwargs)

    def as_subclass(self, cls: type[Tensor]) -> Any:
        """A view of the tensor as an instance of a subclass, with the same history."""
        if not (isinstance(cls, type) and issubclass(cls, Tensor)):
            raise TypeError(f"cls must be a type (got {type(cls).__name__})")
        from adjit.dispatch import rename
        from adjit.shaping import view_as

        view = rename(view_as(self, self), "Alias")
        view.__class__ = cls
        return view

    @staticmethod
    def _make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Any:
        """An instance of a subclass on the memory of `data`, without history."""
        made = data.detach()
        made.requires_grad = require_grad
        made.__class__ = cls
        return made

    @staticmethod
    def _wrap(
        array: np.ndarray | None,
        dtype: DType,
        *,
        memory: Memory | None = None,
        type: TensorType | None = None,
        cls: type[Tensor] | None = None,
    ) -> Tensor:
        """A tensor around an array (eager), or around nothing (in a trace, with its `type`)."""
        tensor: Tensor = object.__new__(Tensor if cls is None else cls)
        tensor._array = array
        tensor._dtype = dtype
        tensor._memory = Memory(array, dtype) if memory is None else memory
        tensor._type = type
        tensor._base = None
        tensor._chain = ()
        tensor._value = None
        tensor._seen = 0
        tensor._history = 0
        tensor._epoch = 0
        tensor._leaf = True
        tensor._requires_grad = False
        tensor._grad = None
        tensor._tracer = None
        tensor._strides = None
        return tensor

    if TYPE_CHECKING:
        _base: Tensor | None
        _chain: Chain
        _dtype: DType
        _epoch: int
        _grad: Tensor | None
        _history: int
        _leaf: bool
        _memory: Memory
        _requires_grad: bool
        _seen: int
        _strides: tuple[Size, ...] | None
        _tracer: Tracer | None
        _type: TensorType | None
        _value: Value | None

        # Attached by `adjit.methods`; listed in the stub of the public API.
        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __len__(self) -> int: ...
        def __bool__(self) -> bool: ...
        def __int__(self) -> int: ...
        def __float__(self) -> float: ...
        def __hash__(self) -> int: ...

    # -- type -------------------------------------------------------------------------------------------------------
    @property
    def _tensor_type(self) -> TensorType:
        """The IR type."""
        if self._type is None:
            assert self._array is not None
            self._type = TensorType(self._dtype, self._array.shape)
        return self._type

    # -- autograd ---------------------------------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        if self._base is not None and self._base._history != self._seen:
            from adjit.autograd.record import refresh_view

            refresh_view(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf:
            if value:
                return
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and not self._dtype.is_continuous:
            raise explained(
                RuntimeError,
                "only Tensors of floating point dtype can require gradients",
                "requires_grad_",
                {"self": self},
                "convert it first: {self}.float().requires_grad_()",
            )
        if value and self._memory.is_inference and not STATE.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        if value and self._tracer is not None:
            from adjit.trace_arguments import check_marked

            check_marked(self._tracer, self)
        if type(self) is not Tensor and value is not self._requires_grad:  # compiled programs know it
            EPOCH.advance()
        self._requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` in place."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is not the result of a recorded operation."""
        return not self.requires_grad or self._leaf

    @property
    def grad_fn(self) -> GradFn | None:
        """The node of the graph that computed this tensor, as autograd sees it; None for a leaf."""
        if self.is_leaf:
            return None
        from adjit.autograd.grad_fn import grad_fn_of

        return grad_fn_of(self)

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient; None before the first `backward`."""
        if STATE.tracer is not None:
            return STATE.tracer.grad_of(self)
        if self._grad is None and self.requires_grad and not self.is_leaf and not self.retains_grad:
            warnings.warn(_NON_LEAF_GRAD, UserWarning, stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            _check_assigned_grad(self, value)
        if STATE.tracer is not None:
            STATE.tracer.set_grad(STATE.tracer.captured.complete(STATE.tracer, self), value)
        else:
            self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def retains_grad(self) -> bool:
        """Whether a non-leaf tensor keeps its gradient."""
        from adjit.autograd.record import watch_of

        watch = watch_of(self)
        return not self.is_leaf and watch is not None and watch.retained is not None

    def retain_grad(self) -> None:
        """Make `backward` keep this non-leaf tensor's gradient in `.grad`."""
        from adjit.autograd.record import retain_grad

        retain_grad(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(grad)` when this tensor's gradient is complete; a returned tensor replaces it."""
        from adjit.autograd.record import register_hook

        return register_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook(tensor)` after a gradient was accumulated into a leaf's `.grad`."""
        from adjit.autograd.record import register_post_accumulate_hook

        return register_post_accumulate_hook(self, hook)

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | Tensor | None = None,
    ) -> None:
        """Accumulate d self / d leaf, weighted by `gradient`, into the `.grad` of every leaf.

        Errors: RuntimeError when the tensor does not require grad, or has more than one element and no `gradient`.
        """
        from adjit.autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """A tensor on the same memory without history."""
        from adjit.autograd.record import detach

        return detach(self)

    def detach_(self) -> Tensor:
        """Cut this tensor from its history, in place."""
        from adjit.autograd.record import detach_in_place

        return detach_in_place(self)

    @property
    def data(self) -> Tensor:
        """The tensor's memory, outside autograd."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if STATE.tracer is not None:
            STATE.tracer.set_data(self, value)
            return
        if self.is_leaf or self._tensor_type != value._tensor_type:  # what was computed keeps where it came from
            self._value = None
        self._array, self._dtype, self._memory = value._array, value._dtype, value._memory
        self._type, self._chain = None, value._chain

    @property
    def _version(self) -> int:
        """How many times the memory was written in place.  RuntimeError for memory made in inference mode."""
        if self._memory.is_inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._memory.version

    @property
    def graph(self) -> Graph:
        """The recorded program that computed this tensor; `print(loss.graph)` shows its text."""
        from adjit.autograd.record import recorded_graph

        return recorded_graph(self)


def disabled_torch_function(
    cls: Any, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
) -> Any:
    """The `__torch_function__` of classes that are never asked: results are plain tensors."""
    return func(*args, **(kwargs or {}))


def _check_assigned_grad(tensor: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
    if value is tensor:
        raise RuntimeError("can't assign Variable as its own grad")
    if value._dtype is not tensor._dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{value._dtype.long_name}' to a tensor with grad_dtype "
            f"'{tensor._dtype.long_name}'. The gradient must match the tensor's grad_dtype"
        )
    if value._tensor_type.dims != tensor._tensor_type.dims:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(value._tensor_type.dims)}' to a tensor of size "
            f"'{list(tensor._tensor_type.dims)}'. Please ensure that the gradient and the tensor are the same size"
        )
