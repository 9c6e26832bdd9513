"""Pruning: setting the least important entries of a module's tensors to 0 by a mask."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from adjit.creation import ones_like
from adjit.joining import cat
from adjit.nn.hooks import forward_pre_hooks
from adjit.nn.module import Module
from adjit.random import rand, rand_like
from adjit.sorting import topk
from adjit.tensor import Tensor


class BasePruningMethod(ABC):
    """A hook before `forward` that computes `name` as `name_orig`*`name_mask`; a subclass says what the mask is.

    `PRUNING_TYPE`: "unstructured", "structured" or "global": which entries another mask of the same tensor leaves.
    """

    _tensor_name: str
    PRUNING_TYPE: str = "unstructured"

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of `t`, given the mask that holds already."""

    def apply_mask(self, module: Module) -> Tensor:
        """The original tensor times its mask."""
        name = self._tensor_name
        mask, original = getattr(module, f"{name}_mask"), getattr(module, f"{name}_orig")
        found: Tensor = mask.to(dtype=original.dtype) * original
        return found

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune module.`name`; a tensor pruned before keeps its zeros."""
        old = _hook_of(module, name)
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        if old is not None:
            key, before = old
            del module._forward_pre_hooks[key]
            container = before if isinstance(before, PruningContainer) else PruningContainer(before)
            container.add_pruning_method(method)
            method = container
        original = getattr(module, name)
        if importance_scores is None:
            importance_scores = original
        elif importance_scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}"
            )
        if old is None:
            own = module._parameters[name]
            assert own is not None
            delattr(module, name)
            module.register_parameter(f"{name}_orig", own)
            default = ones_like(original)
        else:
            default = getattr(module, f"{name}_mask").detach().clone()
        try:
            mask = method.compute_mask(importance_scores.detach(), default)
            module.register_buffer(f"{name}_mask", mask)
            setattr(module, name, method.apply_mask(module))
            module.register_forward_pre_hook(method)
        except Exception:
            if old is None:
                restored = module._parameters[f"{name}_orig"]
                delattr(module, f"{name}_orig")
                module.register_parameter(name, restored)
            raise
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """`t` with the mask's zeros."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        default = ones_like(t) if default_mask is None else default_mask
        found: Tensor = t * self.compute_mask(scores, default)
        return found

    def remove(self, module: Module) -> None:
        """Make the pruned tensor a parameter again."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        own = module._parameters[f"{name}_orig"]
        assert own is not None
        if hasattr(module, name):
            delattr(module, name)
        own.data = weight.data
        for part in ("orig", "mask"):
            delattr(module, f"{name}_{part}")
        setattr(module, name, own)


def _hook_of(module: Module, name: str) -> tuple[int, BasePruningMethod] | None:
    found = [(key, hook) for key, hook in forward_pre_hooks(module, BasePruningMethod) if hook._tensor_name == name]
    if len(found) > 1:
        raise AssertionError(f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}")
    return found[0] if found else None


class PruningContainer(BasePruningMethod):
    """Several methods, one after another: each sees what the former ones left."""

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in args:
            if not self._pruning_methods:
                self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Put a method at the end."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods = (*self._pruning_methods, method)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The last method's mask over the entries that `default_mask` leaves."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            kept: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim % t.ndim  # type: ignore[attr-defined]
            rows = mask.movedim(dim, 0).reshape(t.shape[dim], -1).sum(1) != 0
            kept = (slice(None),) * dim + (rows,)
        elif method.PRUNING_TYPE == "global":
            kept = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        partial = method.compute_mask(t[kept], default_mask=mask[kept])
        found: Tensor = mask.clone()
        found[kept] = partial.to(found.dtype)
        return found


class Identity(BasePruningMethod):
    """Prunes nothing: the mask is all ones."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask that holds already."""
        return default_mask

    @classmethod
    def apply(cls, module: Module, name: str) -> BasePruningMethod:  # type: ignore[override]
        """Put the mask of ones on module.`name`."""
        return super().apply(module, name)


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    most = float("inf") if isinstance(amount, numbers.Integral) else 1.0
    if not 0.0 <= float(amount) <= most:
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of `size` are to go.  Errors: ValueError for more than there are."""
    if isinstance(amount, numbers.Integral):
        if int(amount) > size:
            raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
        return int(amount)
    return round(float(amount) * size)


def _lowest(scores: Tensor, count: int) -> Tensor:
    found: Tensor = topk(scores.reshape(-1), count, largest=False)[1]
    return found


def _without_lowest(default_mask: Tensor, scores: Callable[[], Tensor], amount: float) -> Tensor:
    """The mask with zeros at the entries of the lowest scores: a number of them, or a share."""
    count = _count(amount, default_mask.numel())
    mask: Tensor = default_mask.clone()
    if count:
        mask.view(-1)[_lowest(scores(), count)] = 0
    return mask


class RandomUnstructured(BasePruningMethod):
    """Prunes entries at random: a number of them, or a share."""

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with zeros at random places."""
        return _without_lowest(default_mask, lambda: -rand_like(t), self.amount)


class L1Unstructured(BasePruningMethod):
    """Prunes the entries of the least absolute value: a number of them, or a share."""

    def __init__(self, amount: float) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with zeros at the least entries."""
        return _without_lowest(default_mask, t.abs, self.amount)


class _Structured(BasePruningMethod):
    """What pruning whole slices along `dim` shares."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount = amount
        self.dim = dim

    def _scores(self, t: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} says which slices matter")

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with zeros in the least important slices."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = _count(self.amount, t.shape[self.dim])
        if count == 0:
            return default_mask
        gone = _lowest(self._scores(t), count)
        mask = ones_like(t)
        mask[(slice(None),) * (self.dim % t.ndim) + (gone,)] = 0
        found: Tensor = mask * default_mask.to(dtype=mask.dtype)
        return found


class RandomStructured(_Structured):
    """Prunes slices along `dim` at random."""

    def _scores(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])


class LnStructured(_Structured):
    """Prunes the slices along `dim` of the least n-norm."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        axes = tuple(axis for axis in range(t.ndim) if axis != self.dim % t.ndim)
        found: Tensor = t.norm(self.n, axes)
        return found


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The product of both masks."""
        found: Tensor = default_mask * self.mask.to(dtype=default_mask.dtype)
        return found


def identity(module: Module, name: str) -> Module:
    """Give module.`name` a mask of ones."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune entries of module.`name` at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the entries of module.`name` of the least absolute value."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune slices of module.`name` along `dim` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the slices of module.`name` along `dim` of the least n-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune module.`name` by a given mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None, **kwargs: Any,
) -> None:  # fmt: skip
    """Prune several tensors as if they were one."""
    listed = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for '
            f"the `pruning_method`. Found method {pruning_method} of type {pruning_method.PRUNING_TYPE}"
        )
    originals = [getattr(module, name) for module, name in listed]
    important = [scores.get((module, name), own) for (module, name), own in zip(listed, originals, strict=True)]
    masks = [
        getattr(module, f"{name}_mask", ones_like(own)) for (module, name), own in zip(listed, originals, strict=True)
    ]
    whole = cat([item.detach().reshape(-1) for item in important])
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    found = PruningContainer(method).compute_mask(whole, cat([mask.reshape(-1) for mask in masks]))
    start = 0
    for (module, name), own in zip(listed, originals, strict=True):
        count = own.numel()
        custom_from_mask(module, name, found[start : start + count].view_as(own))
        start += count


def remove(module: Module, name: str) -> Module:
    """Make the pruned tensor a parameter again.  Errors: ValueError if it is not pruned."""
    found = _hook_of(module, name)
    if found is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    key, hook = found
    hook.remove(module)
    del module._forward_pre_hooks[key]
    return module


def is_pruned(module: Module) -> bool:
    """Whether anything inside the module is pruned."""
    return any(forward_pre_hooks(inner, BasePruningMethod) for inner in module.modules())
