"""A module's tensors by name: `state_dict` and `load_state_dict`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from adjit.autograd.modes import no_grad
from adjit.epoch import EPOCH
from adjit.errors import explained
from adjit.nn.parameter import Parameter, is_lazy
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks, RemovableHandle

_EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find on either side."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _WithoutModule:
    """A hook that does not take the module."""

    def __init__(self, hook: Callable[..., None]) -> None:
        self.hook = hook

    def __call__(self, module: Any, *args: Any) -> None:
        self.hook(*args)


class StateDict:
    """The part of `Module` that saves and restores its parameters and persistent buffers."""

    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks

    # -- saving -----------------------------------------------------------------------------------------------------
    def get_extra_state(self) -> Any:
        """Further state to save beside the tensors; overridden together with `set_extra_state`."""
        raise RuntimeError("`get_extra_state` is called only where a class defines it")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Please file an issue at "
            "https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml to report this bug."
        )

    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not StateDict.get_extra_state

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._saved_tensors():
            destination[prefix + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()
        if self._has_extra_state():
            destination[prefix + _EXTRA] = self.get_extra_state()

    def _saved_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in chain(self._parameters.items(), self._buffers.items()):
            if tensor is not None and name not in self._non_persistent_buffers_set:
                yield name, tensor

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """All parameters and persistent buffers by name, detached unless `keep_vars`.

        The tensors share the module's memory: a copy that is not to follow the training must be made.
        """
        for name, value in zip(("destination", "prefix", "keep_vars"), args, strict=False):
            destination = value if name == "destination" else destination
            prefix = value if name == "prefix" else prefix
            keep_vars = value if name == "keep_vars" else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in tuple(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in tuple(self._state_dict_hooks.values()):
            replaced = hook(self, destination, prefix, metadata)
            destination = destination if replaced is None else replaced
        found: OrderedDict[str, Any] = destination
        return found

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` is made."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata)` when `state_dict` is made; it may change it in place."""

        def checked(module: Any, state_dict: Any, prefix: str, metadata: Any) -> None:
            if hook(module, state_dict, prefix, metadata) is not None:  # type: ignore[func-returns-value]
                raise RuntimeError("state_dict post-hook must return None")

        return RemovableHandle(self._state_dict_hooks, checked)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata)`, which may return another dictionary."""
        return RemovableHandle(self._state_dict_hooks, hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        """`register_load_state_dict_pre_hook` of a hook that takes the module only if `with_module`."""
        return RemovableHandle(self._load_state_dict_pre_hooks, hook if with_module else _WithoutModule(hook))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Before loading, call `hook` with the module and the arguments of `_load_from_state_dict`."""
        return RemovableHandle(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the lists of keys in place."""
        return RemovableHandle(self._load_state_dict_post_hooks, hook)

    # -- loading ----------------------------------------------------------------------------------------------------
    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the tensors of `state_dict` into this module's, or with `assign` put them in their place.

        Errors: TypeError for what is no mapping; RuntimeError that lists missing and unexpected keys (if `strict`) and
        every shape that does not fit.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        given = OrderedDict(state_dict)
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        _load(self, given, "", metadata, assign, missing, unexpected, errors)
        if strict:
            if missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
            if unexpected:
                errors.insert(0 if not missing else 1, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise explained(
                RuntimeError,
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}",
                hint="build the model with the sizes and names that it was saved with; load_state_dict(state, "
                "strict=False) passes over names that only one of the two has",
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for hook in tuple(self._load_state_dict_pre_hooks.values()):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        known = {name for name, _ in self._saved_tensors()}
        for name, tensor in list(self._saved_tensors()):
            key = prefix + name
            if key not in state_dict:
                if name not in self._younger(local_metadata):
                    missing_keys.append(key)
                continue
            problem = _problem(key, tensor, state_dict[key])
            if problem is not None:
                error_msgs.append(problem)
            else:
                self._take(name, tensor, state_dict[key], assign)
        extra = prefix + _EXTRA
        if self._has_extra_state():
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            else:
                missing_keys.append(extra)
        for key in state_dict:
            if key.startswith(prefix) and key not in unexpected_keys:
                own = key[len(prefix) :].split(".", 1)
                inside = own[0] in self._modules if len(own) > 1 else own[0] in known
                if not inside and not (key == extra and self._has_extra_state()):
                    unexpected_keys.append(key)

    def _younger(self, local_metadata: dict[str, Any]) -> tuple[str, ...]:
        """Names that a state of this version does not have, and that keep their values without being missed."""
        return ()

    def _take(self, name: str, tensor: Tensor, given: Tensor, assign: bool) -> None:
        if is_lazy(given):
            return
        if not assign:
            with no_grad():
                tensor.copy_(given)
            return
        EPOCH.advance()
        if isinstance(tensor, Parameter):
            if not isinstance(given, Parameter):
                given = Parameter(given, requires_grad=tensor.requires_grad)
            self._parameters[name] = given
        else:
            self._buffers[name] = given


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _problem(key: str, tensor: Tensor, given: Any) -> str | None:
    """Why `given` cannot be taken for `tensor`."""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(given)}"
        )
    if is_lazy(tensor):
        return None if is_lazy(given) else f"{key} has no shape yet"
    if given.shape != tensor.shape and not (tensor.ndim == 0 and tuple(given.shape) == (1,)):
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, the shape in current "
            f"model is {tensor.shape}."
        )
    return None


def _load(
    module: Any,
    state_dict: dict[str, Any],
    prefix: str,
    metadata: Any,
    assign: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    local = dict({} if metadata is None else metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state_dict, prefix, local, True, missing, unexpected, errors)
    for name, child in module._modules.items():
        if child is not None:
            inner = f"{prefix}{name}."
            own = {key: value for key, value in state_dict.items() if key.startswith(inner)}
            _load(child, own, inner, metadata, assign, missing, unexpected, errors)
    keys = _IncompatibleKeys(missing, unexpected)
    for hook in tuple(module._load_state_dict_post_hooks.values()):
        if hook(module, keys) is not None:
            raise RuntimeError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, "
                "if incompatible_keys need to be modified, it should be done inplace."
            )
