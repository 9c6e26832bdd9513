"""The Python state that a trace relied on: globals, closures, attributes of modules, hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from adjit.autograd.record import hook_numbers
from adjit.tensor import Tensor

_SIMPLE = (bool, int, float, complex, str, bytes, type(None), tuple)


class Environment:
    """A snapshot of what a function reads beside its arguments, and whether it still holds.

    Global and closed-over numbers, strings, tensors and functions are compared at every call; modules only when
    something announced a change (see epoch.py).
    """

    # What a module's namespace holds by name: compared by identity.
    TABLES = (
        "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks",
        "_backward_pre_hooks",
    )  # fmt: skip

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[Any, Any]] = []
        self._modules: list[Any] = []
        self._roots: list[Any] = []  # modules that were not found through another one
        self._snapshot: list[Any] = []
        self._hooked: list[tuple[Tensor, tuple[int, ...]]] = []
        self._containers: list[tuple[Any, tuple[Any, ...]]] = []  # lists and dicts, with what they held
        self._seen: set[int] = set()
        for item in (function, *arguments):
            self._visit(item)
        for item in arguments:
            if _is_users_object(item):
                self._visit_instance(item)
        if not self._modules and not isinstance(function, (FunctionType, MethodType)):
            self._visit_instance(function)  # an object with a `__call__` of its own
            self._visit(vars(type(function)).get("__call__"))

    @property
    def volatile(self) -> bool:
        """Whether there is anything to compare at every call."""
        return bool(self._names or self._cells or self._containers)

    def _visit(self, item: Any) -> None:
        from adjit.jit import CompiledFunction
        from adjit.nn.module import Module

        if id(item) in self._seen:
            return
        self._seen.add(id(item))
        if isinstance(item, CompiledFunction):
            self._visit(item.function)
        elif isinstance(item, Module):
            if not any(item is known for known in self._modules):
                self._roots.append(item)
                self._modules.extend(m for m in item.modules() if not any(m is known for known in self._modules))
                for module in item.modules():
                    self._visit(type(module).forward)
        elif isinstance(item, MethodType):
            self._visit_instance(item.__self__)
            self._visit(item.__func__)
        elif isinstance(item, FunctionType):
            self._visit_function(item)
        elif isinstance(item, (list, tuple, dict)) and len(item) < _LONGEST:
            parts = _parts_of(item)
            if not isinstance(item, tuple):
                self._containers.append((item, parts))
            for part in parts:
                self._visit(part)

    def _visit_instance(self, instance: Any) -> None:
        """What a method's object holds: modules, tensors, plain values."""
        self._visit(instance)
        if id(instance) not in {id(module) for module in self._modules}:
            for name in list(getattr(instance, "__dict__", ())):
                self._note(instance.__dict__, name)

    def _visit_function(self, function: FunctionType) -> None:
        if f"{function.__module__}.".startswith("adjit."):
            return
        for name in _names_in(function.__code__):
            if name in function.__globals__:
                self._note(function.__globals__, name)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # a name that is bound later
                continue
            if isinstance(content, (*_SIMPLE, Tensor)):
                self._cells.append((cell, content))
            self._visit(content)

    def _note(self, namespace: dict[str, Any], name: str) -> None:
        content = namespace[name]
        if isinstance(content, (*_SIMPLE, Tensor, FunctionType)):
            self._names.append((namespace, name, content))
        self._visit(content)

    def name_tensors(self) -> None:
        """Give parameters and global tensors the names that the IR shows."""
        for module in self._roots:
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                tensor.__dict__.setdefault("_trace_name", name.replace(".", "_"))
        for _, name, content in self._names:
            if isinstance(content, Tensor):
                content.__dict__.setdefault("_trace_name", name)

    def freeze(self) -> None:
        """Take the snapshot of the modules, as they are after the trace.

        A name that the traced function itself changed (a counter, say) is left out: it would never hold.
        """
        self._names = [
            (namespace, name, content)
            for namespace, name, content in self._names
            if namespace.get(name) is content or _same(namespace.get(name), content)
        ]
        self._containers = [pair for pair in self._containers if _holds_still(*pair)]
        self._snapshot = [_state(module) for module in self._modules]

    def containers_hold(self) -> bool:
        """Whether the lists and dicts that were read hold what they held."""
        return all(_holds_still(container, parts) for container, parts in self._containers)

    def holds(self) -> bool:
        """Whether nothing that was read has changed."""
        return self.change() is None

    def change(self) -> str | None:
        """The first thing that was read and has changed since, or None."""
        for namespace, name, content in self._names:
            found = namespace.get(name, self)
            if found is not content and not _same(found, content):
                return f"{name}: {_shown(content)} -> {'gone' if found is self else _shown(found)}"
        for cell, content in self._cells:
            found = cell.cell_contents
            if found is not content and not _same(found, content):
                return f"a variable of the function around: {_shown(content)} -> {_shown(found)}"
        for container, parts in self._containers:
            if not _holds_still(container, parts):
                return f"what a {type(container).__name__} holds: {_shown(parts)} -> {_shown(_parts_of(container))}"
        for tensor, before in self._hooked:
            if hook_numbers(tensor) != before:
                return "the hooks on a captured tensor"
        for module, state in zip(self._modules, self._snapshot, strict=True):
            found = _state(module)
            if found != state:
                return _module_change(module, state, found)
        return None

    def conditions(self) -> list[str]:
        """What must still hold, in words: plain values by name, and how many lists and modules are watched."""
        found = [f"{name} is {_shown(content)}" for _, name, content in self._names if isinstance(content, _SIMPLE)]
        found += [f"a variable of the function around is {_shown(c)}" for _, c in self._cells if isinstance(c, _SIMPLE)]
        if self._containers:
            found.append(f"{len(self._containers)} lists and dicts hold what they held")
        if self._modules:
            found.append(f"{len(self._modules)} modules have the same attributes, parameters and hooks")
        return found

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Take the hooks on the gradients of captured tensors into the snapshot."""
        self._hooked = [(tensor, hook_numbers(tensor)) for tensor in tensors if tensor.requires_grad]


_LONGEST = 1024  # longer lists and dicts are data, not settings


def _parts_of(container: Any) -> tuple[Any, ...]:
    """What a list, tuple or dict holds, keys first."""
    return (*container, *container.values()) if isinstance(container, dict) else tuple(container)


def _holds_still(container: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a list or dict holds what it held: the same objects, or equal plain values."""
    found = _parts_of(container)
    return len(found) == len(parts) and all(a is b or _same(a, b) for a, b in zip(found, parts, strict=True))


def _is_users_object(item: Any) -> bool:
    """Whether an argument is an object of a class of the user's, whose attributes the function may read."""
    from adjit.nn.module import Module

    if isinstance(item, (Tensor, Module, type, FunctionType, MethodType, ModuleType)):
        return False
    return hasattr(item, "__dict__") and not f"{type(item).__module__}.".startswith(("adjit.", "builtins."))


def _same(found: Any, content: Any) -> bool:
    return isinstance(content, _SIMPLE) and type(found) is type(content) and found == content


def _names_in(code: CodeType) -> set[str]:
    """The names that a function and those defined inside it look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names


def simple_attributes(module: Any) -> list[str]:
    """The names of a module's attributes that are plain values."""
    return [k for k, v in module.__dict__.items() if isinstance(v, _SIMPLE) and not k.startswith("__")]


def _shown(content: Any) -> str:
    """A plain value as it is written, cut short; of others, the kind."""
    text = repr(content) if isinstance(content, _SIMPLE) else f"a {type(content).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _module_change(module: Any, before: list[Any], after: list[Any]) -> str:
    """What differs between two states of a module."""
    name = type(module).__name__
    old, new = dict(before[0]), dict(after[0])
    for key in old.keys() | new.keys():
        if key not in old or key not in new or not _same(new[key], old[key]):
            return f"{key} of {name}: {_shown(old.get(key))} -> {_shown(new.get(key))}"
    what = ("attributes", "parameters, buffers, modules or hooks", "requires_grad of parameters", "forward")
    return next((f"{w} of {name}" for w, a, b in zip(what, before, after, strict=True) if a != b), name)


def _state(module: Any) -> list[Any]:
    """What a module's `forward` can read that is not a tensor's data."""
    own = module.__dict__
    simple = [(name, own[name]) for name in simple_attributes(module)]
    held = [[(name, id(item)) for name, item in own.get(key, {}).items()] for key in Environment.TABLES]
    flags = [p.requires_grad for p in own.get("_parameters", {}).values() if p is not None]
    return [simple, held, flags, type(module).forward]
