"""Parametrizations: a module's tensor as a function of other parameters, computed whenever it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.epoch import EPOCH
from adjit.nn.containers import ModuleDict, ModuleList
from adjit.nn.module import Module
from adjit.nn.parameter import Parameter
from adjit.tensor import Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip

_cache: dict[tuple[int, str], Tensor] = {}
_depth = 0


@contextmanager
def cached() -> Iterator[None]:
    """Inside, a parametrized tensor is computed once."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _same(what: str, found: Tensor, dtype: Any, shape: Any, names: tuple[str, str], flag: str) -> None:
    """A parametrization keeps dtype and shape."""
    for kind, old, new in (("dtype", dtype, found.dtype), ("shape", shape, found.shape)):
        if old != new:
            raise ValueError(
                f"{what} may not change the {kind} of the tensor, unless {flag} flag is enabled.\n"
                f"{names[0].format(kind)}: {old}\n{names[1].format(kind)}: {new}"
            )


class ParametrizationList(ModuleList):
    """Parametrizations applied one after another to `original`, or to `original0`, `original1`, ..."""

    original: Tensor

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        dtype, shape = original.dtype, original.shape
        new: Any = original
        with no_grad():
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            if dtype != new.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            if new is not original:
                original.data = new.detach()
            _register(self, "original", original)
        else:
            self._register_parts(new, original)
        if not unsafe:
            self._check_result(dtype, shape)

    def _register_parts(self, parts: Sequence[Any], original: Tensor) -> None:
        for index, part in enumerate(parts):
            if not isinstance(part, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                    f"{index} of the sequence with type {type(part).__name__}."
                )
            if isinstance(original, Parameter):
                part = Parameter(part.detach(), original.requires_grad)
            part.requires_grad_(original.requires_grad)
            _register(self, f"original{index}", part)

    def _check_result(self, dtype: Any, shape: Any) -> None:
        found = self()
        if not isinstance(found, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(found).__name__}.")
        names = ("unparametrized {}", "parametrized {}")
        _same("Registering a parametrization", found, dtype, shape, names, "`unsafe`")

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor is `value`."""
        with no_grad():
            found: Any = value
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                found = module.right_inverse(found)
            if self.is_tensor:
                self._set_one(found)
            else:
                self._set_parts(found)

    def _set_one(self, found: Any) -> None:
        if not isinstance(found, Tensor):
            raise ValueError(f"`right_inverse` should return a tensor. Got {type(found).__name__}")
        if found.dtype != self.original.dtype:
            raise ValueError(
                f"The tensor returned by `right_inverse` has dtype {found.dtype} while `original` has dtype "
                f"{self.original.dtype}"
            )
        self.original.data = found.detach()

    def _set_parts(self, found: Any) -> None:
        if not isinstance(found, Sequence):
            raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(found).__name__}.")
        if len(found) != self.ntensors:
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of "
                f"length {len(found)}."
            )
        for index, part in enumerate(found):
            own = getattr(self, f"original{index}")
            if part.dtype != own.dtype:
                raise ValueError(
                    f"Tensor {index} returned by `right_inverse` has dtype {part.dtype} while `original{index}` has "
                    f"dtype {own.dtype}"
                )
            own.data = part.detach()

    def forward(self) -> Tensor:
        """The parametrized tensor."""
        names = ["original"] if self.is_tensor else [f"original{index}" for index in range(self.ntensors)]
        first, *rest = self._modules.values()
        assert first is not None
        found: Tensor = first(*(getattr(self, name) for name in names))
        for module in rest:
            assert module is not None
            found = module(found)
        return found


def _deepcopy(self: Module, memo: dict[int, Any]) -> Module:
    found: Module | None = memo.get(id(self))
    if found is None:
        found = memo[id(self)] = self.__new__(type(self))
        found.__dict__.update(deepcopy(self.__dict__, memo))
    return found


def _getstate(self: Module) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). See:\n"
        "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
        "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
    )


def _property(name: str) -> property:
    def read(self: Module) -> Tensor:
        made: Tensor
        if _depth == 0:
            made = self.parametrizations[name]()
            return made
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def write(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make module.`tensor_name` what `parametrization` computes from it.

    A method `right_inverse` of the parametrization gives the originals for a value.  `unsafe`: dtype and shape may
    change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_further(module, tensor_name, parametrization)
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        parametrizations = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            kind = type(module)
            own: dict[str, Any] = {"__getstate__": _getstate, "__module__": kind.__module__}
            if not hasattr(kind, "__deepcopy__"):
                own["__deepcopy__"] = _deepcopy
            module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), own)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    EPOCH.advance()
    return module


def _check_further(module: Module, name: str, parametrization: Any) -> None:
    before = getattr(module, name)
    found = parametrization(before)
    if not isinstance(found, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(found).__name__}.")
    names = (f"module.{name}.{{}}", f"parametrization(module.{name}).{{}}")
    _same("Registering a parametrization", found, before.dtype, before.shape, names, "the `unsafe`")
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(found)
    except NotImplementedError:
        return
    if not isinstance(back, Tensor):
        raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}")
    for kind, old, new in (("dtype", before.dtype, back.dtype), ("shape", before.shape, back.shape)):
        if old != new:
            raise ValueError(
                f"The tensor returned by parametrization.right_inverse must have the same {kind} as module.{name}, "
                f"unless the `unsafe` flag is enabled.\nmodule.{name}.{kind}: {old}\nreturned {kind}: {new}"
            )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has parametrizations (of `tensor_name`)."""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make module.`tensor_name` a plain tensor: what it is now, or the original if not `leave_parametrized`."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        original = parametrizations.original
        if leave_parametrized:
            with no_grad():
                original.data = getattr(module, tensor_name).detach()
    elif leave_parametrized:
        found = getattr(module, tensor_name)
        original = Parameter(found.detach()) if found.requires_grad else found
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    EPOCH.advance()
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give `to_module` the parametrizations of `from_module`, or that of one tensor, and their originals."""
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for parametrization in source:
            register_parametrization(to_module, name, parametrization)
        target = to_module.parametrizations[name]
        for key in (*source._parameters, *source._buffers):
            setattr(target, key, getattr(source, key))
    return to_module
