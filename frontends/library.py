"""PyTorch's `torch.library`: operators of one's own, whose functions no trace looks into.

`custom_op` makes one of a function over tensors, which may leave for NumPy or C; `register_fake` says what shapes and
dtypes its results have, `register_autograd` gives its derivative.  A compiled program calls the function in the middle
of native code; without a fake it takes the function's own operations.  `adjit.ops.<namespace>.<name>` finds operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial, update_wrapper
from typing import Any

import numpy as np

from adjit.autograd import Function
from adjit.autograd.modes import no_grad
from adjit.creation import from_numpy
from adjit.foreign import host_call
from adjit.state import STATE
from adjit.tensor import Tensor

__all__ = ["CustomOpDef", "custom_op", "get_op", "register_autograd", "register_fake", "register_kernel"]

_OPERATORS: dict[str, CustomOpDef] = {}


class CustomOpDef:
    """An operator of one's own; called like its function.

    Errors: RuntimeError at `backward` where no derivative is registered.
    """

    def __init__(self, name: str, function: Callable[..., Any], mutates_args: Any) -> None:
        namespace, _, own = name.partition("::")
        if not namespace or not own:
            raise ValueError(f"Expected `name` to be of the form `namespace::name`, got {name!r}")
        self._name, self._function = name, function
        self._signature = inspect.signature(function)
        self._mutates = _mutated(self._signature, mutates_args)
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self._applied: type[Function] | None = None
        update_wrapper(self, function)
        _OPERATORS[name] = self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._name})>"

    @property
    def default(self) -> CustomOpDef:
        """The only signature."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._mutates or not STATE.recording:
            return self._run(bound.args, bound.kwargs)
        if self._applied is None:
            self._applied = _function_of(self)
        return self._applied.apply(bound.kwargs, *bound.args)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Say by a function of the same arguments which shapes and dtypes the results have; also a decorator."""
        self._fake = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Give the derivative: `backward(ctx, *grads)`, one gradient or None for each argument, with what
        `setup_context(ctx, inputs, output)` keeps."""
        if self._mutates:
            raise RuntimeError(f"Cannot register autograd formula for non-functional operator {self._name}")
        self._backward, self._setup, self._applied = backward, setup_context, None

    def register_kernel(self, device_types: Any, func: Callable[..., Any] | None = None, /) -> Any:
        """The function for a device: the one for the CPU takes the place of the operator's own."""
        if func is None:
            return partial(self.register_kernel, device_types)
        if "cpu" in ([device_types] if isinstance(device_types, str) else device_types or ["cpu"]):
            self._function = func
        return func

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The results without a history."""
        with no_grad():
            if STATE.tracer is not None and self._fake is not None and not self._mutates:
                return self._called_by_program(args, kwargs)
            return self._function(*map(_detached, args), **{name: _detached(kwargs[name]) for name in kwargs})

    def _called_by_program(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        assert self._fake is not None
        like = self._fake(*args, **kwargs)
        places = [index for index, value in enumerate(args) if isinstance(value, Tensor)]

        def run(*arrays: np.ndarray) -> Any:
            given = list(args)
            for index, array in zip(places, arrays, strict=True):
                given[index] = from_numpy(array)
            with no_grad():
                found = self._function(*given, **kwargs)
            return found.numpy() if isinstance(found, Tensor) else tuple(item.numpy() for item in found)

        return host_call(run, like, *(args[index] for index in places))


def _mutated(signature: inspect.Signature, names: Any) -> tuple[str, ...]:
    """The arguments that a function writes to.  Errors: ValueError for a name that it does not have."""
    if names == "unknown":
        return tuple(signature.parameters)
    found: tuple[str, ...] = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if name not in signature.parameters:
            raise ValueError(f"mutates_args contains {name!r}, which is no argument of the function: {signature}")
    return found


def _detached(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_detached, value))
    return value.detach() if isinstance(value, Tensor) else value


def _function_of(operator: CustomOpDef) -> type[Function]:
    """The operator as autograd applies it; keywords come first, which have no gradient."""

    def forward(kwargs: dict[str, Any], *args: Any) -> Any:
        return operator._run(args, kwargs)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if operator._setup is None:
            return
        kwargs, *args = inputs
        keywords = {"keyword_only_inputs": kwargs} if kwargs else {}
        operator._setup(ctx=ctx, inputs=tuple(args), output=output, **keywords)

    def backward(ctx: Any, *grads: Any) -> Any:
        if operator._backward is None:
            raise RuntimeError(
                f"Trying to backward through {operator._name.replace('::', '.')}.default but no autograd formula was "
                "registered. Please use register_autograd to add one."
            )
        found = operator._backward(ctx, *grads)
        return None, *(found if isinstance(found, tuple) else (found,))

    rules: dict[str, Any] = {"forward": forward, "setup_context": setup_context, "backward": backward}
    name = "GeneratedBackwardFor_" + operator._name.replace("::", "_") + "_default"
    return type(name, (Function,), {key: staticmethod(rule) for key, rule in rules.items()})


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: str | Iterable[str] = (),
    device_types: Any = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """The operator "namespace::name" of a function; also a decorator.

    >>> import adjit as torch
    >>> @torch.library.custom_op("mine::cube", mutates_args=())
    ... def cube(x: torch.Tensor) -> torch.Tensor:
    ...     return torch.from_numpy(x.numpy() ** 3)
    >>> _ = cube.register_fake(torch.empty_like)
    >>> cube.register_autograd(lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2,
    ...                        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    >>> torch.func.grad(lambda x: cube(x).sum())(torch.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    """
    if fn is None:
        return partial(custom_op, name, mutates_args=mutates_args, device_types=device_types, schema=schema, tags=tags)
    return CustomOpDef(name, fn, mutates_args)


def get_op(op: str | CustomOpDef) -> CustomOpDef:
    """The operator of a name.  Errors: RuntimeError where there is none."""
    if isinstance(op, CustomOpDef):
        return op
    if op not in _OPERATORS:
        raise RuntimeError(f"operator {op} does not exist")
    return _OPERATORS[op]


def register_fake(op: str | CustomOpDef, func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`CustomOpDef.register_fake` by the operator's name; also a decorator."""
    return partial(register_fake, op) if func is None else get_op(op).register_fake(func)


def register_autograd(
    op: str | CustomOpDef, backward: Callable[..., Any], /, *, setup_context: Any = None, lib: Any = None
) -> None:
    """`CustomOpDef.register_autograd` by the operator's name."""
    get_op(op).register_autograd(backward, setup_context=setup_context)


def register_kernel(op: str | CustomOpDef, device_types: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """`CustomOpDef.register_kernel` by the operator's name; also a decorator."""
    return get_op(op).register_kernel(device_types, func)
