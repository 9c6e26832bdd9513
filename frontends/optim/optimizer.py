"""`Optimizer`: groups of parameters with their settings, and state for each parameter.

A step runs in eager mode or inside a trace.  In a trace the learning rate is read at every call of the program, the
other settings are what the trace relies on, and state is made outside of it, as ordinary tensors that it writes.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain
from typing import Any, TypeAlias

from adjit.autograd.modes import enable_grad, no_grad
from adjit.creation import tensor
from adjit.dtypes import float32, float64
from adjit.epoch import EPOCH
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace import outside
from adjit.utils.hooks import Hooks, RemovableHandle

ParamsT: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]"
Group: TypeAlias = "dict[str, Any]"


class Optimizer:
    """The base of all optimizers: a subclass says in `_update` what a step does to one group."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{params.type()}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._changes = 0  # of what a trace of `step` holds on to: groups and loaded state
        self._stepped = False  # schedules warn when they are stepped first
        self._step_pre_hooks, self._step_post_hooks = Hooks(), Hooks()
        listed = list(params)
        if not listed:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(listed[0], dict):
            listed = [{"params": listed}]
        for group in listed:
            self.add_param_group(group)  # type: ignore[arg-type]

    # -- groups -----------------------------------------------------------------------------------------------------
    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with settings of their own; what is not given is the default.

        Errors: TypeError for what is no tensor, ValueError for a tensor with history or in two groups.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        listed = [params] if isinstance(params, Tensor) else list(params)
        names = [item[0] for item in listed if isinstance(item, tuple)]
        if names:
            if len(names) != len(listed):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            listed = [item[1] for item in listed]
            param_group["param_names"] = names
        param_group["params"] = listed
        for param in listed:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(param).__name__}")
            if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        known = {id(param) for group in self.param_groups for param in group["params"]}
        if any(id(param) in known for param in listed):
            raise ValueError("some parameters appear in more than one parameter group")
        self._has_changed()
        self.param_groups.append(param_group)

    def _has_changed(self) -> None:
        self._changes += 1
        EPOCH.advance()

    # -- a step -----------------------------------------------------------------------------------------------------
    def _update(self, group: Group) -> None:
        raise NotImplementedError(f"{type(self).__name__} says what a step does")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` computes the loss again, and its result is returned."""
        for hook in tuple(self._step_pre_hooks.values()):
            hook(self, (closure,) if closure is not None else (), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        tracer = STATE.tracer
        if tracer is not None:
            changes = self._changes
            tracer.checks.append(lambda: self._changes == changes)
        self._stepped = True
        with no_grad():
            for group in self.param_groups:
                self._update(group)
        for hook in tuple(self._step_post_hooks.values()):
            hook(self, (closure,) if closure is not None else (), {})
        return loss

    def _setting(self, group: Group, name: str) -> Any:
        """A setting of a group that a trace relies on."""
        return group[name] if STATE.tracer is None else STATE.tracer.guard_value(group, name)

    def _rate(self, group: Group, name: str = "lr") -> Any:
        """A setting that is read at every call of a compiled step: there it is a 0-d tensor."""
        value = group[name]
        if STATE.tracer is None or isinstance(value, Tensor):
            return value
        return STATE.tracer.dynamic_scalar(group, name)

    def _gradients(self, group: Group) -> Iterator[tuple[Tensor, Tensor]]:
        """The parameters that have a gradient, with it."""
        for param in group["params"]:
            gradient = param.grad
            if gradient is not None:
                yield param, gradient

    def _state_of(self, param: Tensor, make: Callable[[Tensor], dict[str, Any]]) -> dict[str, Any]:
        """The state of a parameter; `make` gives it at the first step."""
        state = self.state[param]
        if not state:
            with outside(), no_grad():
                state.update(make(param))
        if STATE.tracer is not None:
            name_state(param, state)
        return state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    with no_grad():
                        if param.grad.requires_grad and param.grad.grad_fn is not None:
                            param.grad = param.grad.detach()
                        param.grad.zero_()

    # -- hooks ------------------------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step."""
        return RemovableHandle(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return RemovableHandle(self._step_post_hooks, hook)

    # -- saving and loading -----------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state by number of the parameter, and the groups' settings."""
        order = {id(p): i for i, p in enumerate(chain.from_iterable(g["params"] for g in self.param_groups))}
        groups = [
            {
                **{key: value for key, value in group.items() if key != "params"},
                "params": [order[id(param)] for param in group["params"]],
            }
            for group in self.param_groups
        ]
        state = {order[id(param)]: values for param, values in self.state.items() if id(param) in order}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and settings from `state_dict`.  Errors: ValueError where the groups do not fit."""
        groups, saved = self.param_groups, state_dict["param_groups"]
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        numbers = chain.from_iterable(group["params"] for group in saved)
        params = chain.from_iterable(group["params"] for group in groups)
        by_number = dict(zip(numbers, params, strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            param = by_number.get(number)
            if param is not None:
                state[param] = {key: _fitted(key, value, param) for key, value in values.items()}
        self.state = state
        for group, given in zip(groups, saved, strict=True):
            kept = group["params"]
            group.clear()
            group.update(deepcopy({key: value for key, value in given.items() if key != "params"}))
            group["params"] = kept
        self._has_changed()

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._changes = 0
        self._stepped = True
        self._step_pre_hooks, self._step_post_hooks = Hooks(), Hooks()


def _fitted(key: str, value: Any, param: Tensor) -> Any:
    """A copy of a saved value; tensors but the count of steps take the parameter's dtype."""
    if isinstance(value, Tensor):
        value = value.detach().clone()
        return value if key == "step" or not param.is_floating_point() else value.to(param.dtype)
    if isinstance(value, OrderedDict | dict):
        return {inner: _fitted(inner, item, param) for inner, item in value.items()}
    return deepcopy(value)


def name_state(param: Tensor, state: dict[str, Any]) -> None:
    """Give the state of a parameter the names that a compiled step's program shows."""
    name = param.__dict__.get("_trace_name")
    for key, value in state.items():
        if name is not None and isinstance(value, Tensor):
            value.__dict__.setdefault("_trace_name", f"{name}_{key}")


def count_of_steps() -> Tensor:
    """A count of steps at 0, as a tensor, so that a compiled step can carry it on."""
    found: Tensor = tensor(0.0, dtype=float32)
    return found


def steps_taken(step: Tensor) -> Any:
    """The count as a number, or in a trace as a float64 tensor: what bias corrections are computed from."""
    return step.item() if STATE.tracer is None else step.to(float64)


def root(value: Any) -> Any:
    """The square root of a number or of a tensor."""
    return value.sqrt() if isinstance(value, Tensor) else value**0.5


def check_not_negative(**settings: Any) -> None:
    """ValueError, in PyTorch's words, for a setting below 0."""
    words = {
        "lr": "learning rate", "eps": "epsilon value", "weight_decay": "weight_decay value",
        "momentum": "momentum value", "alpha": "alpha value", "lr_decay": "lr_decay value",
        "initial_accumulator_value": "initial_accumulator_value value",
    }  # fmt: skip
    for name, value in settings.items():
        if not isinstance(value, Tensor) and not value >= 0.0:
            raise ValueError(f"Invalid {words[name]}: {value}")
