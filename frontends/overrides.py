"""PyTorch's `torch.overrides`: what takes functions over tensors over, by the classes of their arguments or by a mode.

A class with a `__torch_function__`, whether or not it is one of tensors, is asked whenever one of its instances is an
argument; `Tensor` has one that makes results of a subclass instances of it.  Nothing of this costs anything before the
first such class is met or the first mode entered: only then do public functions and methods get their wrappers.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import update_wrapper, wraps
from typing import Any
from weakref import WeakKeyDictionary

from adjit import surface
from adjit.tensor import Tensor, disabled_torch_function

__all__ = [
    "BaseTorchFunctionMode", "DisableTorchFunction", "DisableTorchFunctionSubclass", "TorchFunctionMode",
    "get_default_nowrap_functions", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property", "resolve_name",
    "wrap_torch_function",
]  # fmt: skip

# The modules whose public functions can be taken over, beside the package.
_NAMESPACES = ("nn.functional", "linalg", "fft", "special")
# Functions that are not about the tensors they are given.
_LEFT = frozenset((
    "as_tensor", "asarray", "compile", "debug", "example_inputs", "formula", "fork_rng", "from_dlpack", "from_numpy",
    "from_sympy", "frombuffer", "is_tensor", "is_storage", "lambdify", "load", "load_program", "parse", "root", "save",
    "tensor", "to_sympy", "typename", "vmap",
))  # fmt: skip
_SETTINGS = ("get_", "set_", "are_", "use_", "is_grad", "is_inference", "is_warn", "is_deterministic", "_", "manual_")
# As which method an operator is taken over.
_OPERATORS = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__matmul__": "matmul",
    "__neg__": "neg", "__abs__": "abs", "__radd__": "add", "__rmul__": "mul", "__iadd__": "add_", "__isub__": "sub_",
    "__imul__": "mul_", "__itruediv__": "div_", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge",
    "__mod__": "remainder", "__pow__": "pow", "__ipow__": "pow_", "__invert__": "bitwise_not",
}  # fmt: skip
_DUNDERS = frozenset((
    *_OPERATORS, "__and__", "__bool__", "__complex__", "__contains__", "__deepcopy__", "__eq__", "__float__",
    "__floordiv__", "__format__", "__getitem__", "__iand__", "__index__", "__int__", "__ior__", "__ixor__", "__len__",
    "__lshift__", "__ne__", "__or__", "__pos__", "__rand__", "__repr__", "__reversed__", "__rfloordiv__", "__rmatmul__",
    "__rmod__", "__ror__", "__rpow__", "__rshift__", "__rsub__", "__rtruediv__", "__rxor__", "__setitem__", "__xor__",
))  # fmt: skip
_ARITHMETIC = (
    "add", "sub", "mul", "truediv", "matmul", "mod", "pow", "floordiv", "and", "or", "xor", "lshift", "rshift",
)  # fmt: skip
# These may decline, and Python asks the other operand.
_BINARY = frozenset((
    *(f"__{kind}{name}__" for kind in ("", "r", "i") for name in _ARITHMETIC),
    "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__",
))  # fmt: skip
# Properties that are functions of the tensor.
_PROPERTIES = frozenset(("H", "T", "imag", "mH", "mT", "real"))
# Methods that work on the tensor as it is.
_KEPT = frozenset(("as_subclass",))


class _Running(threading.local):
    def __init__(self) -> None:
        self.off = 0
        self.modes: list[TorchFunctionMode] = []


_RUNNING = _Running()
_ASKED: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
_lasting = False
_wrappers: list[tuple[Any, str, Any, Any]] = []  # where a wrapper stands, under which name, what it replaced, itself


def asks(kind: type) -> bool:
    """Whether a class is asked when its instances are arguments."""
    found = _ASKED.get(kind)
    if found is None:
        method = getattr(kind, "__torch_function__", None)
        found = _ASKED[kind] = kind is not Tensor and method is not None and method is not disabled_torch_function
    return found


def _relevant(values: Iterable[Any]) -> list[Any]:
    """The arguments whose classes are asked, those in lists and tuples, too."""
    found = []
    for value in values:
        kind = type(value)
        if kind is list or kind is tuple:
            found += _relevant(value)
        elif kind is not Tensor and asks(kind):
            found.append(value)
    return found


def _in_order(relevant: Iterable[Any]) -> list[Any]:
    """One argument of each class, those of subclasses first, else from left to right."""
    found: list[Any] = []
    for value in relevant:
        kind = type(value)
        if any(type(other) is kind for other in found):
            continue
        place = next((i for i, other in enumerate(found) if issubclass(kind, type(other))), len(found))
        found.insert(place, value)
    return found


# -- dispatching -------------------------------------------------------------------------------------------------------
def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether a mode is entered or an argument's class is asked."""
    return bool(_RUNNING.modes) or (not _RUNNING.off and any(asks(type(value)) for value in relevant_args))


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function((arg,))`."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function(args)`."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], /, *args: Any, **kwargs: Any
) -> Any:
    """What the innermost mode, or the first class that does not decline, makes of public_api(*args, **kwargs).

    Errors: TypeError where all return NotImplemented.
    """
    relevant = [value for value in relevant_args if asks(type(value))]
    result = _asked(public_api, relevant, args, kwargs)
    if result is NotImplemented:
        raise _refused(public_api, relevant, compound=True)
    return result


def _asked(public: Callable[..., Any], relevant: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the innermost mode, or the first class that does not decline, makes of a call; or NotImplemented."""
    asked = [] if _RUNNING.off else _in_order(relevant)
    kinds = tuple(type(value) for value in asked)
    if _RUNNING.modes:
        with _left() as mode:
            result = mode.__torch_function__(public, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    for value in asked:
        result = value.__torch_function__(public, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    return NotImplemented


def _refused(public: Callable[..., Any], relevant: list[Any], *, compound: bool) -> TypeError:
    """The error of a call that all decline; `compound` for the words of functions that are made of others."""
    kinds = [type(value) for value in _in_order(relevant)]
    name = resolve_name(public) or f"{public.__module__}.{public.__name__}"
    if compound:
        return TypeError(f"no implementation found for '{name}' on types that implement __torch_function__: {kinds}")
    said = "".join(f"\n\n  - tensor subclass {kind}" for kind in kinds)
    return TypeError(
        f"Multiple dispatch failed for '{name}'; all __torch_function__ handlers returned NotImplemented:{said}"
    )


def default(
    cls: type[Tensor],
    func: Callable[..., Any],
    types: Sequence[type],
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """`Tensor.__torch_function__`: func(*args, **kwargs), with tensors among its results made those of `cls`."""
    if not all(issubclass(cls, kind) for kind in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
        return result if func in get_default_nowrap_functions() else _converted(result, cls)


def _converted(result: Any, cls: type[Tensor]) -> Any:
    if cls is Tensor:
        return result
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else result.as_subclass(cls)
    if isinstance(result, (list, tuple)) and any(isinstance(item, (Tensor, list, tuple)) for item in result):
        items = [_converted(item, cls) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    return result


def get_default_nowrap_functions() -> set[Callable[..., Any]]:
    """The functions whose results stay what they are: the getter of `grad`."""
    return {vars(Tensor)["grad"].__get__}


@contextmanager
def _left() -> Iterator[TorchFunctionMode]:
    """Leave the innermost mode, which handles a call."""
    modes = _RUNNING.modes
    mode = modes.pop()
    try:
        yield mode
    finally:
        modes.append(mode)


class DisableTorchFunctionSubclass(AbstractContextManager["DisableTorchFunctionSubclass"]):
    """Inside, classes are not asked; modes are."""

    def __enter__(self) -> DisableTorchFunctionSubclass:
        _RUNNING.off += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        _RUNNING.off -= 1


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """Inside, neither classes nor modes are asked."""

    def __enter__(self) -> DisableTorchFunction:
        self._modes, _RUNNING.modes = _RUNNING.modes, []
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        _RUNNING.modes = self._modes


class TorchFunctionMode:
    """A context whose `__torch_function__` gets every call of a public function or method; override it.

    >>> import adjit as torch
    >>> from adjit.overrides import TorchFunctionMode
    >>> class Named(TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(func.__name__)
    ...         return func(*args, **(kwargs or {}))
    >>> with Named():
    ...     y = torch.ones(2).exp() + 1
    ones
    exp
    add
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """What becomes of func(*args, **kwargs); overridden."""
        raise NotImplementedError(f"{type(self).__name__} is a mode that has no __torch_function__ of its own")

    def __enter__(self) -> TorchFunctionMode:
        _wrap_all()
        _RUNNING.modes.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        innermost = max(place for place, mode in enumerate(_RUNNING.modes) if mode is self)
        del _RUNNING.modes[innermost]
        if not _RUNNING.modes and not _lasting:
            _unwrap_all()

    @property
    def is_entered(self) -> bool:
        """Whether the running thread is inside."""
        return any(mode is self for mode in _RUNNING.modes)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> TorchFunctionMode:
        """The mode made of these arguments."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


# -- wrappers ----------------------------------------------------------------------------------------------------------
def activate() -> None:
    """Let classes be asked from here on."""
    global _lasting
    if not _lasting:
        _lasting = True
        _wrap_all()


def deactivate() -> None:
    """Ask no class any more, until the next one is met."""
    global _lasting
    _lasting = False
    if not _RUNNING.modes:
        _unwrap_all()


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"adjit.{name}" if name else "adjit")


def _wrap_all() -> None:
    """Put wrappers in the places of the public functions and methods, if they do not stand there."""
    if _wrappers:
        return
    from adjit.native.install import install

    known = [(module, dict(vars(module))) for module in map(_module, ("", *_NAMESPACES))]
    install()  # first: a wrapper that native entries replaced would not be asked
    for module, before in known:
        for name in list(getattr(module, "__all__", None) or before):
            found = vars(module).get(name)
            if found is not None and _is_public(name, found):
                _put(module, name, found, _Taken(found, before.get(name, found), module, name))
    for name, found in list(vars(Tensor).items()):
        if _is_method(name, found):
            _put(Tensor, name, found, _overridable(found, Tensor, name))
        elif name in _PROPERTIES and isinstance(found, property) and found.fget is not None:
            _put(Tensor, name, found, property(_overridable(found.fget, Tensor, name)))
    surface.override = _late


def _unwrap_all() -> None:
    """Put back what the wrappers replaced, where they still stand."""
    for owner, name, found, wrapper in reversed(_wrappers):
        if vars(owner).get(name) is wrapper:
            setattr(owner, name, found)
    _wrappers.clear()
    surface.override = surface.keep


def _late(name: str, found: Any, *, method: bool) -> Any:
    """What stands over a function that is loaded while wrappers stand."""
    path, _, last = name.rpartition(".")
    if not (_is_method(last, found) if method else _is_public(last, found)):
        return found
    owner = Tensor if method else _module(path)
    wrapper = _overridable(found, owner, last) if method else _Taken(found, found, owner, last)
    _wrappers.append((owner, last, found, wrapper))
    return wrapper


def _put(owner: Any, name: str, found: Any, wrapper: Any) -> None:
    _wrappers.append((owner, name, found, wrapper))
    setattr(owner, name, wrapper)


def _is_function(found: Any) -> bool:
    descriptors = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
    return isinstance(found, descriptors)


def _is_public(name: str, found: Any) -> bool:
    return _is_function(found) and name not in _LEFT and not name.startswith(_SETTINGS)


def _is_method(name: str, found: Any) -> bool:
    named = name in _DUNDERS if name.startswith("_") else name not in _KEPT
    return named and _is_function(found)


def _overridable(function: Callable[..., Any], owner: Any, name: str) -> Callable[..., Any]:
    """The method, which asks the running mode and the classes of its arguments first."""
    called, operator = _OPERATORS.get(name, name), name in _BINARY

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        running = _RUNNING
        if not running.modes and running.off:
            return function(*args, **kwargs)
        relevant = _relevant((*args, *kwargs.values()) if kwargs else args)
        if not relevant and not running.modes:
            return function(*args, **kwargs)
        public = getattr(owner, called)
        if isinstance(public, property):
            public = public.__get__
        result = _asked(public, relevant, args, kwargs)
        if result is NotImplemented and not operator:
            raise _refused(public, relevant, compound=owner.__name__ == "adjit.nn.functional")
        return result

    wrapper.__name__ = name
    return wrapper


class _Taken:
    """A public function that can be taken over, equal to the function itself as a key of a table of handlers."""

    def __init__(self, function: Callable[..., Any], key: Callable[..., Any], owner: Any, name: str) -> None:
        self._call, self._key = _overridable(function, owner, name), key
        update_wrapper(self, self._call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return self is other or self._key is other

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return repr(self._key)


def first_met(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What takes over a function that failed for arguments whose classes had not been met; None if nothing does."""
    if _lasting or not _relevant((*args, *kwargs.values())):
        return None
    activate()
    home = getattr(function, "__wrapped__", function).__module__.partition("adjit.")[2]
    inside = next((name for name in _NAMESPACES if home == name or home.startswith(f"{name}.")), "")
    return vars(_module(inside)).get(function.__name__)


class _Property(property):
    """A property of `Tensor` in subclasses, which are asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, tensor: Any, owner: Any = None) -> Any:
        if tensor is None:
            return vars(Tensor)[self.name]
        if _RUNNING.off and not _RUNNING.modes:
            return _found(self.name).__get__(tensor, owner)
        return handle_torch_function(_found(self.name).__get__, (tensor,), tensor)

    def __set__(self, tensor: Any, value: Any) -> None:
        _found(self.name).__set__(tensor, value)


def _found(name: str) -> Any:
    found = vars(Tensor)[name]
    if isinstance(found, surface.Deferred):
        surface.load(found.module)
        found = vars(Tensor)[name]
    return found


# Properties that give tensors: of every subclass they are asked for.
_OF_TENSORS = ("H", "T", "data", "imag", "mH", "mT", "real")


def adopt(cls: type[Tensor]) -> None:
    """Let a new subclass of `Tensor` be asked, unless it says that it is not."""
    if not asks(cls):
        return
    activate()
    own = "__torch_function__" in vars(cls)
    for name, found in list(vars(Tensor).items()):
        wanted = own and not name.startswith("_") and isinstance(found, (property, surface.DeferredProperty))
        if (wanted or name in _OF_TENSORS) and not any(name in vars(base) for base in cls.__mro__[:-2]):
            setattr(cls, name, _Property(name))


# -- asking ------------------------------------------------------------------------------------------------------------
def is_tensor_like(inp: Any) -> bool:
    """Whether an object is a tensor, or has a `__torch_function__`."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether a function is a method of `Tensor` or the getter of one of its properties."""
    return func.__name__ == "__get__" or vars(Tensor).get(func.__name__) is func


def resolve_name(f: Any) -> str | None:
    """The name under which a function that can be taken over is public: `torch.Tensor.add`."""
    for owner, name, found, wrapper in _wrappers:
        if f is wrapper or f is found:
            path = "torch.Tensor" if owner is Tensor else owner.__name__.replace("adjit", "torch", 1)
            return f"{path}.{name}"
    if getattr(f, "__name__", "") == "__get__":
        return f"torch.Tensor.{getattr(f.__self__.fget, '__name__', '')}.__get__"
    return None


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator by which a function of one's own can be taken over; `dispatcher` names the arguments asked."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = tuple(dispatcher(*args, **kwargs))
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return decorate
