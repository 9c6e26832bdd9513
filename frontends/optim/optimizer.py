"""`Optimizer`: groups of parameters with their settings, and state for each parameter.

A step runs in eager mode or inside a trace.  In a trace the learning rate is read at every call of the program, the
other settings are what the trace relies on, and state is made outside of it, as ordinary tensors that it writes.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

from adjit.autograd.modes import enable_grad, no_grad, set_grad_enabled
from adjit.autograd.overwriting import OPTIMIZERS
from adjit.epoch import EPOCH
from adjit.errors import explained
from adjit.ir.graph import Location
from adjit.optim.stepping import (
    hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from adjit.optim.varying import Varying
from adjit.state import STATE, outside
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks, RemovableHandle

__all__ = [
    "Group", "Optimizer", "ParamsT", "name_state", "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook", "required",
]  # fmt: skip

ParamsT: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]"
Group: TypeAlias = "dict[str, Any]"


class _Required:
    """The default of a setting that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def typename(value: Any) -> str:
    """The name of a value's type: `torch.FloatTensor` for a tensor, else its qualified name."""
    if isinstance(value, Tensor):
        found: str = value.type()
        return found
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def in_parts(tensor: Tensor) -> Tensor:
    """A complex tensor as a real one [..., 2] on the same memory; a real tensor itself."""
    if not tensor._dtype.is_complex:
        return tensor
    from adjit.complex_parts import view_as_real

    return view_as_real(tensor)


def whole(value: Any, param: Tensor) -> Any:
    """What `in_parts` of a complex parameter has a number for each part of, as a complex tensor; other values alone."""
    if not param._dtype.is_complex or not isinstance(value, Tensor) or tuple(value.shape) != (*param.shape, 2):
        return value
    from adjit.complex_parts import view_as_complex

    return view_as_complex(value)


def owner_of(param: Tensor) -> Tensor:
    """The parameter that `in_parts` was given."""
    base = param._base
    return base if base is not None and base._dtype.is_complex and not param._dtype.is_complex else param


class Optimizer:
    """The base of all optimizers: a subclass says in `_update` what a step does to one group."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise explained(
                TypeError,
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{typename(params)}",
                hint="put it into a list: [{params}]",
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._changes = 0  # of what a trace of `step` holds on to: groups and loaded state
        self._stepped = False  # schedules warn when they are stepped first
        self._stepped_at: Location | None = None  # the line of the last step
        OPTIMIZERS.add(self)
        self._hooks: dict[str, Hooks] = defaultdict(Hooks)
        listed = list(params)
        if not listed:
            raise explained(
                ValueError,
                "optimizer got an empty parameter list",
                "optimizer", {},
                hint="give it the model's parameters, torch.optim.SGD(model.parameters(), lr=0.1); a list is not "
                "empty where layers are attributes of the module, or stand in nn.ModuleList",
            )
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
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {typename(param)}")
            if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
                raise explained(
                    ValueError,
                    "can't optimize a non-leaf Tensor",
                    "optimizer", {"param": param},
                    hint="optimize what it was computed from, or cut it off: x = x.detach().requires_grad_()",
                )
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
            param_group.setdefault(name, default)
        if len({id(param) for param in listed}) != len(listed):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        named = "param_names" in param_group
        if any(("param_names" in group) != named for group in self.param_groups):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if named else 'without'} names to the optimizer"
            )
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

    @partial(hooked, own=True)
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` computes the loss again, and its result is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._check_traceable()
        with set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for group in self.param_groups:
                self._check_group(group)
                self._update(group)
        return loss

    def _check_traceable(self) -> None:
        """Make a running trace watch the groups and the state."""
        tracer = STATE.tracer
        if tracer is not None:
            tracer.guard_value(vars(self), "_changes")

    def _check_group(self, group: Group) -> None:
        """AssertionError for forms that PyTorch does not run on a CPU, or not with autograd."""
        if group.get("capturable") and STATE.tracer is None:
            # A compiled step is always what `capturable` asks for.
            raise AssertionError(
                "If capturable=True, params and state_steps must be on supported devices: "
                "['cuda', 'xpu', 'hpu', 'privateuseone', 'xla']."
            )
        if group.get("foreach") and group.get("differentiable"):
            raise AssertionError("_foreach ops don't support autograd")

    def _setting(self, group: Group, name: str) -> Any:
        """A setting of a group that a trace relies on."""
        return group[name] if STATE.tracer is None else STATE.tracer.guard_value(group, name)

    def _factor(self, group: Group, name: str) -> Any:
        """A number that a step multiplies by where it is not 0, which schedules may change."""
        return group[name] if STATE.tracer is None else self._varying.factor(group, name)

    def _factors(self, group: Group, name: str) -> tuple[Any, Any]:
        """The same for a pair of numbers."""
        return group[name] if STATE.tracer is None else self._varying.factors(group, name)

    @property
    def _varying(self) -> Varying:
        found: Varying | None = vars(self).get("_settings")
        if found is None:
            found = vars(self)["_settings"] = Varying()
        return found

    def _rate(self, group: Group, name: str = "lr") -> Any:
        """A setting that is read at every call of a compiled step: there it is a 0-d tensor."""
        value = group[name]
        if STATE.tracer is None or isinstance(value, Tensor):
            return value
        return STATE.tracer.dynamic_scalar(group, name)

    def _gradients(self, group: Group) -> Iterator[tuple[Tensor, Tensor]]:
        """The parameters that have a gradient, with it; its negative where the group maximizes.

        Complex ones are given as real ones [..., 2] on the same memory: each part is a parameter.
        """
        if "maximize" in group:
            self._setting(group, "maximize")
        for param in group["params"]:
            gradient = param.grad
            if gradient is not None:
                gradient = in_parts(gradient)
                yield in_parts(param), -gradient if group.get("maximize") else gradient

    def _state_of(self, param: Tensor, make: Callable[[Tensor], dict[str, Any]]) -> dict[str, Any]:
        """The state of a parameter; `make` gives it at the first step.  That of a complex one is kept complex."""
        owner = owner_of(param)
        state = self.state[owner]
        if not state:
            with outside(), no_grad():
                state.update((key, whole(value, owner)) for key, value in make(in_parts(param)).items())
        if STATE.tracer is not None:
            name_state(param, state)
        if not owner._dtype.is_complex:
            return state
        return {key: in_parts(value) if isinstance(value, Tensor) else value for key, value in state.items()}

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
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new ones."""
        return RemovableHandle(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return RemovableHandle(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return self._hooks["state_dict_pre"].registered(hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; what it returns takes its place."""
        return self._hooks["state_dict_post"].registered(hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; what it returns is loaded instead."""
        return self._hooks["load_state_dict_pre"].registered(hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._hooks["load_state_dict_post"].registered(hook, prepend)

    # -- saving and loading -----------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state by number of the parameter, and the groups' settings."""
        for hook in tuple(self._hooks["state_dict_pre"].values()):
            hook(self)
        order: dict[int, int] = {}
        for number, param in enumerate(chain.from_iterable(group["params"] for group in self.param_groups)):
            order.setdefault(id(param), number)
        groups = [
            {
                **{key: value for key, value in group.items() if key != "params"},
                "params": [order[id(param)] for param in group["params"]],
            }
            for group in self.param_groups
        ]
        state = {order[id(key)] if isinstance(key, Tensor) else key: values for key, values in self.state.items()}
        found = {"state": state, "param_groups": groups}
        for hook in tuple(self._hooks["state_dict_post"].values()):
            changed = hook(self, found)
            found = found if changed is None else changed
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take state and settings from `state_dict`.  Errors: ValueError where the groups do not fit."""
        state_dict = dict(state_dict)
        for hook in tuple(self._hooks["load_state_dict_pre"].values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
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
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            param = by_number.get(number)
            if param is None:
                state[number] = values
            else:
                state[param] = {key: _fitted(key, value, param) for key, value in values.items()}
        self.state = state
        for group, given in zip(groups, saved, strict=True):
            kept = {key: group[key] for key in ("params", "param_names") if key in group}
            group.clear()
            group.update(deepcopy({key: value for key, value in given.items() if key != "params"}))
            group.update({key: value for key, value in kept.items() if key == "params" or key not in group})
            for key, default in self.defaults.items():  # settings that are younger than the file
                group.setdefault(key, default)
        self._has_changed()
        for hook in tuple(self._hooks["load_state_dict_post"].values()):
            hook(self)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._changes = 0
        self._stepped = True
        self._hooks = defaultdict(Hooks)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = hooked(cls.__dict__["step"], own=cls.__module__.partition(".")[0] == "adjit")  # type: ignore[method-assign]


def _fitted(key: Any, value: Any, param: Tensor) -> Any:
    """A copy of a saved value; tensors but the count of steps take the parameter's dtype."""
    if isinstance(value, Tensor):
        value = value.detach().clone()
        if key == "step":
            return value
        return value.to(param.dtype) if param.is_floating_point() else value
    if isinstance(value, dict):
        return {inner: _fitted(inner, item, param) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_fitted(None, item, param) for item in value)
    return deepcopy(value)


def name_state(param: Tensor, state: dict[str, Any]) -> None:
    """Give the state of a parameter the names that a compiled step's program shows."""
    name = param.__dict__.get("_trace_name")
    for key, value in state.items():
        if name is not None and isinstance(value, Tensor):
            value.__dict__.setdefault("_trace_name", f"{name}_{key}")
