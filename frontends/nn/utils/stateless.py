"""Calling a module with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from adjit.epoch import EPOCH
from adjit.nn.module import Module
from adjit.tensor import Tensor

__all__ = ["functional_call"]


def _place(module: Module, name: str) -> tuple[dict[str, Any], str] | None:
    """The table that holds the tensor with the dotted `name`, and its key there."""
    path, _, key = name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        return None
    for table in (owner._parameters, owner._buffers):
        if key in table:
            return table, key
    return None


def _with_tied(module: Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each under all names of the tensor in whose place it comes."""
    tied: dict[int, list[str]] = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            tied.setdefault(id(tensor), []).append(name)
    found = dict(given)
    for names in tied.values():
        chosen = [name for name in names if name in given]
        if not chosen or len(names) == 1:
            continue
        if len({id(given[name]) for name in chosen}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                "tie_weights=False"
            )
        found.update(dict.fromkeys(names, given[chosen[0]]))
    return found


@contextmanager
def replaced(module: Module, tensors: Mapping[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """Inside, `module` holds `tensors`; names that it does not have are passed over unless `strict`."""
    chosen = _with_tied(module, tensors) if tie_weights else dict(tensors)
    if strict:
        _check_names(module, chosen)
    places = {name: place for name in chosen if (place := _place(module, name)) is not None}
    before = {name: table[key] for name, (table, key) in places.items()}
    EPOCH.advance()
    try:
        for name, (table, key) in places.items():
            table[key] = chosen[name]
        yield
    finally:
        for name, (table, key) in places.items():
            table[key] = before[name]
        EPOCH.advance()


def _check_names(module: Module, tensors: Mapping[str, Tensor]) -> None:
    own = {name for named in (module.named_parameters, module.named_buffers) for name, _ in
           named(remove_duplicate=False)}  # fmt: skip
    problems = []
    unexpected, missing = [name for name in tensors if name not in own], sorted(own - tensors.keys())
    if unexpected:
        problems.append(f"Unexpected key(s): {', '.join(map(repr, unexpected))}.")
    if missing:
        problems.append(f"Missing key(s): {', '.join(map(repr, missing))}.")
    if problems:
        listed = "\n\t".join(problems)
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{listed}")


def call_with(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """module(*args, **kwargs), with the given tensors (a dictionary, or several) in the place of its own.

    `tie_weights`: a tensor stands for all names of the one it replaces.  Errors: RuntimeError with `strict` for names
    that do not fit; ValueError for two values of one tied tensor.
    """
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, _merged(parameter_and_buffer_dicts), tie_weights, strict):
        return module(*arguments, **({} if kwargs is None else kwargs))


def _merged(given: Any) -> Mapping[str, Tensor]:
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, Mapping) for item in given):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(given)}"
        )
    found: dict[str, Tensor] = {}
    for item in given:
        for name, tensor in item.items():
            if name in found:
                raise ValueError(
                    f"{name} appears in multiple dictionaries; behavior of functional call is ambiguous"
                )
            found[name] = tensor
    return found


def functional_call(
    module: Module, parameters_and_buffers: dict[str, Tensor], args: Any = None,
    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """The former home of `func.functional_call`."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call_with(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)
