"""What a function can read and change beside its arguments: names, closures, objects, lists and dicts, modules.

Only the user's own functions, classes and modules are looked into; those of adjit and of other libraries keep nothing
that a program depends on, or say themselves what they read.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from array import array
from collections import ChainMap, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterable
from operator import attrgetter, methodcaller
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any
from weakref import ref

import numpy as np

from adjit.autograd.record import outer_watch
from adjit.code_names import names_in
from adjit.contents import is_compared
from adjit.definitions import namespaces_of
from adjit.places import Place
from adjit.state import is_users_module
from adjit.tensor import Tensor
from adjit.trees import is_module

LONGEST = 1024  # longer lists and dicts are data, not settings: only plain values in them count
# What a module's namespace holds by name: compared by identity.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
TABLES = ("_parameters", "_buffers", "_modules", *HOOKS)
_LIBRARIES = frozenset({
    "numpy", "scipy", "sympy", "optree", "llvmlite", "matplotlib", "pandas", "pytest", "torch", "torchvision", "jax",
    "jaxlib", "flax", "optax", "numba", "tensorflow", "keras", "sklearn", "skimage", "PIL", "cv2", "tqdm", "requests",
    "IPython", "hypothesis", "h5py", "networkx",
})  # fmt: skip
_HEAP_TYPE = 1 << 9
# Methods that Python calls where no name of theirs stands; those that make an instance only where its class is named.
_BINARY = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
_IMPLICIT = frozenset(f"__{name}__" for name in (
    "call", "getattr", "getattribute", "setattr", "getitem", "setitem", "delitem", "len", "iter", "next", "contains",
    "reversed", "enter", "exit", "bool", "index", "float", "int", "neg", "pos", "abs", "invert", "lt", "le", "eq",
    "ne", "gt", "ge", "get", "set", "delattr", "missing", "class_getitem", "str", "format", "hash", "complex", "round",
    "trunc", "floor", "ceil", "divmod", "rdivmod", *(f"{side}{name}" for side in ("", "r", "i") for name in _BINARY),
))  # fmt: skip
# What reads attributes that the code does not name: with one of these, all of them count.
_WHOLESALE = frozenset({
    "getattr", "vars", "dir", "eval", "exec", "locals", "__dict__", "attrgetter", "methodcaller", "getmembers",
    "asdict", "astuple", "dumps", "pformat", "*",
})  # fmt: skip
MAKING = ("__new__", "__init__", "__post_init__")
OF_FUNCTIONS = ("forward", "setup_context", "backward", "vjp", "jvp", "vmap")  # what `autograd.Function.apply` calls


class Reach:
    """Everything that a function can reach, found by walking from it and from objects it is given."""

    def __init__(self, function: Callable[..., Any], arguments: Iterable[Any]) -> None:
        self.places: dict[tuple[int, Any], Place] = {}
        self.containers: list[Any] = []  # lists, dicts, deques and sets
        self.modules: list[Any] = []
        self.arrays: list[Any] = []  # short ones of numbers, NumPy's and Python's
        self.functions: list[FunctionType] = []
        self.objects: list[Any] = []  # of the user's classes
        self.roots: list[Any] = []  # modules that were not found through another one
        self.spaces: dict[int, tuple[Any, set[str] | None]] = {}  # what may be written: all of it, or these names
        self.codes: list[CodeType] = []
        self.cells: dict[int, str] = {}  # the names of closures' cells
        self.defaults: list[tuple[str, Any]] = []  # of functions' parameters
        self._seen: dict[int, Any] = {}
        self._names: set[str] = {*_IMPLICIT}
        self._owners: list[Any] = []  # classes and modules, of which only the names in use count
        self._optimizers: list[Any] = []
        self._instances: list[tuple[dict[str, Any], type]] = []
        self._watched: list[Tensor] = []
        self._keywords: set[int] = set()  # the dicts whose keys are names of parameters
        self._taken: set[tuple[int, str]] = set()
        self._records: list[tuple[dict[str, Any], str]] = []  # that hold lists or dicts, which nobody named so far
        self._texts: set[str] = set()  # strings that the code has, which may name attributes
        self._pending: list[Any] = [function, *arguments]
        self._walk()

    def _walk(self) -> None:
        while True:
            while self._pending:
                self._visit(self._pending.pop())
            found = [
                (owner, name)
                for owner in self._owners
                for name in self._used_in(owner)
                if (id(owner), name) not in self._taken
            ]
            if not found and "param_groups" in self._names:  # else nobody changes what an optimizer reads itself
                found_groups, self._optimizers = self._optimizers, []
                for optimizer in found_groups:
                    for group in optimizer.param_groups:
                        self._container(group)
            self._note_records()
            if not found and not self._pending:
                self._note_shadows()
                for tensor in self._watched:
                    for place in namespaces_of(tensor, self._names):
                        self.places.setdefault(place.identity, place)
                return
            for owner, name in found:
                self._taken.add((id(owner), name))
                self._attribute(owner, name)

    def _used_in(self, owner: Any) -> Iterable[str]:
        """The names of a class or a module that the code may use."""
        names = set(vars(owner))
        if "*" in self._names and isinstance(owner, type):
            return [name for name in names if not name.startswith("__") or name in self._names]
        return self._names & names

    @property
    def names(self) -> set[str]:
        """The names of attributes that the code uses; "*" among them where it computes names."""
        return self._names

    @property
    def classes(self) -> list[type]:
        """The user's classes."""
        return list(dict.fromkeys(owner for owner in self._owners if isinstance(owner, type)))

    def _note_records(self) -> None:
        """The lists and dicts in attributes that the code names: on others, which are records, no program depends."""
        known = self._names | self._texts
        everything = not _WHOLESALE.isdisjoint(known)
        records, self._records = self._records, []
        for own, name in records:
            if everything or name in known:
                self._note(Place(own, name))
            else:
                self._records.append((own, name))

    def _note_shadows(self) -> None:
        """The names of data in classes that instances do not hold themselves, but may hold one day.

        Methods are among them only where a list or dict that is not compared may go: else the count tells.
        """
        loose = {id(own) for own, _ in self._records}
        for own, cls in self._instances:
            left_out = (property,) if id(own) in loose else (FunctionType, property, staticmethod, classmethod)
            for base in filter(is_users_class, cls.__mro__):
                for name in self._names & vars(base).keys() - own.keys():
                    if not isinstance(vars(base)[name], left_out):
                        place = Place(own, name)
                        self.places.setdefault(place.identity, place)

    def grown(self) -> list[Any]:
        """The lists that the function only appends to, by every name and key that it has for them."""
        found = [names_in(code) for code in self.codes]
        grown = {name for names in found for name in names.grown} - {name for names in found for name in names.used}
        keyed = {name for names in found for name in names.keyed} - {name for names in found for name in names.whole}
        lists: dict[int, Any] = {}
        others: set[int] = set()

        def note(name: Any, content: Any) -> None:
            if isinstance(content, list) and name in grown:
                lists[id(content)] = content
            else:
                others.add(id(content))
            if isinstance(content, dict) and name in keyed:
                dicts.add(id(content))

        dicts: set[int] = set()
        for place in self.places.values():
            note(self.cells.get(id(place.container), place.key), place.read())
        for name, content in self.defaults:
            note(name, content)
        for item in self.containers:
            if isinstance(item, dict):
                for key, content in item.items():
                    note(key if id(item) in dicts or id(item) in self._keywords else None, content)
            else:
                others.update(map(id, item))
        return [item for own, item in lists.items() if own not in others]

    def _visit(self, item: Any) -> None:
        from adjit.jit import CompiledFunction

        if id(item) in self._seen:
            return
        self._seen[id(item)] = item
        if isinstance(item, Tensor):
            self._tensor(item)
        elif isinstance(item, _PLAIN):
            if is_users_class(type(item)):
                self._instance(item)
        elif isinstance(item, CompiledFunction):
            self._pending.append(item.function)
        elif is_module(type(item)):
            self._module(item)
        elif isinstance(item, FunctionType):
            self._function(item)
        elif isinstance(item, MethodType):
            self._pending += [item.__self__, item.__func__]
        elif isinstance(item, (np.ndarray, bytearray, array)):
            if is_compared(item):
                self.arrays.append(item)
        elif isinstance(item, (attrgetter, methodcaller)) or _reads_all(item):
            self._texts.add("*")
        elif isinstance(item, functools.partial):
            self._pending += [item.func, *item.args]
            self._container(item.keywords)
        elif isinstance(item, (list, tuple, dict, deque, set)):
            self._container(item)
        elif isinstance(item, (type, ModuleType)):
            if isinstance(item, type):
                self._class(item)
            elif _is_users(item.__name__):
                self._owners.append(item)
        elif is_users_class(type(item)) or isinstance(item, SimpleNamespace) or _is_namespace(item):
            self._instance(item)
        elif isinstance(item, (ref, MappingProxyType, _functools_wrapper, UserDict, UserList, ChainMap)):
            self._wrapped(item)
        elif hasattr(item, "param_groups"):
            self._optimizers.append(item)
        elif hasattr(item, "last_epoch"):
            self._schedule(item)

    def _tensor(self, tensor: Tensor) -> None:
        """A tensor: hooks on its gradient, and attributes that its user gave it."""
        self._watched.append(tensor)
        watch = outer_watch(tensor)
        if watch is not None:
            self._pending += [*watch.hooks.values(), *watch.post_hooks.values()]

    def _wrapped(self, item: Any) -> None:
        """What stands behind an object of Python's own library."""
        if isinstance(item, ref):
            self._pending.append(item())
        elif isinstance(item, MappingProxyType):
            self._pending += [part for part in gc.get_referents(item) if isinstance(part, dict)]
        elif isinstance(item, _functools_wrapper):
            self._pending.append(item.__wrapped__)
        else:
            self._pending.append(item.maps if isinstance(item, ChainMap) else item.data)

    def _note(self, place: Place) -> None:
        content = place.read()
        if not isinstance(content, (ModuleType, BuiltinFunctionType)):
            self.places.setdefault(place.identity, place)
        self._pending.append(content)

    def _function(self, function: FunctionType) -> None:
        self._pending += [vars(function)[name] for name in ("__wrapped__", "registry") if name in vars(function)]
        if not _is_users(function.__module__):
            return
        found = names_in(function.__code__)
        self.codes.append(function.__code__)
        self.functions.append(function)
        self._owners.append(function)
        self._pending += [module for name in found.imports if (module := _imported(name, function)) is not None]
        self._names |= found.attributes
        self._texts |= found.texts | (found.globals & _WHOLESALE)
        space = self.spaces.setdefault(id(function.__globals__), (function.__globals__, set()))[1]
        assert space is not None
        space |= found.globals
        if {"environ", "getenv"} & (found.attributes | found.globals):
            self._container(os.environ._data)  # type: ignore[attr-defined]
        for name in found.globals & function.__globals__.keys():
            self._note(Place(function.__globals__, name))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.spaces.setdefault(id(cell), (cell, None))
            self.cells[id(cell)] = name
            self._note(Place(cell))
        given = function.__defaults__ or ()
        count = function.__code__.co_argcount
        self.defaults += zip(function.__code__.co_varnames[count - len(given) : count], given, strict=True)
        self.defaults += (function.__kwdefaults__ or {}).items()
        self._pending += given
        if function.__kwdefaults__:
            self._keywords.add(id(function.__kwdefaults__))
            self._container(function.__kwdefaults__)

    def _class(self, cls: type) -> None:
        """A class that the code names: it may be called, and its bases' methods run with it."""
        if not is_users_class(cls):
            return
        self._owners.append(cls)
        self._pending += [type(cls), *cls.__mro__[1:]]
        names = (*MAKING, *OF_FUNCTIONS) if _is_function_class(cls) else MAKING
        self._pending += [_plain_function(vars(cls)[name]) for name in names if _is_written(cls, name)]
        self._pending += [field.default_factory for field in vars(cls).get("__dataclass_fields__", {}).values()]

    def _container(self, item: Any) -> None:
        if is_users_class(type(item)):
            self._instance(item)
        if isinstance(item, defaultdict):
            self._pending.append(item.default_factory)
        if len(item) >= LONGEST:
            if isinstance(item, (list, dict, deque)) and is_compared(item):
                self.arrays.append(item)
            return
        if not isinstance(item, tuple):
            self.containers.append(item)
            self.spaces.setdefault(id(item), (item, None))
        self._pending += item.values() if isinstance(item, dict) else item

    def _instance(self, item: Any) -> None:
        self._owners += _users_classes(type(item))
        self.objects.append(item)
        own = getattr(item, "__dict__", {})
        if len(own) < LONGEST:
            self.spaces.setdefault(id(own), (own, None))
            self._instances.append((own, type(item)))
            for name, content in own.items():
                self._attribute_of(own, name, content, type(item))
        for cls in type(item).__mro__:
            for name in _slots(cls):
                self._note(Place(item, name))

    def _schedule(self, item: Any) -> None:
        """A schedule of learning rates: unlike an optimizer it computes in Python, from numbers that it keeps."""
        self._instance(item)
        optimizer = getattr(item, "optimizer", None)
        for group in getattr(optimizer, "param_groups", ()):
            self._container(group)

    def _module(self, item: Any) -> None:
        known = {id(module) for module in self.modules}
        if id(item) in known:
            return
        self.roots.append(item)
        for module in item.modules():
            if id(module) in known:
                continue
            self._seen[id(module)] = module
            self.modules.append(module)
            own = module.__dict__
            for table in HOOKS:
                self._pending += own.get(table, {}).values()
            self._pending += own.get("_parameters", {}).values()
            if "forward" in own:
                self._pending.append(own["forward"])
            self.spaces.setdefault(id(own), (own, None))
            if not is_users_class(type(module)):
                continue
            self._owners += _users_classes(type(module))
            self.objects.append(module)
            self._instances.append((own, type(module)))
            self._names.add("forward")
            for table in ("_parameters", "_buffers", "_modules"):
                if table in own:
                    self.spaces.setdefault(id(own[table]), (own[table], None))
            for name, content in own.items():
                if name not in _module_names() and not isinstance(content, (Tensor, *_PLAIN)):
                    self._attribute_of(own, name, content, type(module))

    def _attribute_of(self, own: dict[str, Any], name: str, content: Any, cls: type) -> None:
        """An attribute of an object: at once, or, if it is a list or a dict, where the code names it."""
        if isinstance(content, (list, deque, dict)) and _is_read_by_name(cls):
            self._records.append((own, name))
        else:
            self._note(Place(own, name))

    def _attribute(self, owner: Any, name: str) -> None:
        """A name of a class or a module that the code uses: functions are looked into, data is compared as well."""
        content = vars(owner)[name]
        if name in _IMPLICIT and not _is_written(owner, name):
            return
        if isinstance(content, property):
            self._pending += [part for part in (content.fget, content.fset) if part is not None]
        elif isinstance(content, (staticmethod, classmethod)):
            self._pending.append(content.__func__)
        elif isinstance(content, functools.cached_property):
            self._pending.append(content.func)
        elif isinstance(content, functools.partialmethod):
            self._pending += [content.func, *content.args]
            self._container(content.keywords)
        elif isinstance(content, FunctionType) and isinstance(owner, type):
            self._pending.append(content)
        else:
            self._note(Place(owner if isinstance(owner, type) else vars(owner), name))


_functools_wrapper = type(functools.cache(lambda: None))
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def is_users_class(cls: type) -> bool:
    """Whether a class is the user's: not built in, and from no library that is known here."""
    return bool(cls.__flags__ & _HEAP_TYPE) and (cls.__module__ == "builtins" or _is_users(cls.__module__))


def _is_read_by_name(cls: type) -> bool:
    """Whether nothing reads attributes of a class's objects but the user's code, where their names stand."""
    known = {*sys.modules["adjit.nn.module"].Module.__mro__} if is_module(cls) else {object}
    others = [base for base in cls.__mro__ if base not in known]
    return not any("__dataclass_fields__" in vars(base) or not is_users_class(base) for base in others)


def _reads_all(item: Any) -> bool:
    """Whether something is a function of Python's that looks attributes up, under whatever name."""
    return isinstance(item, BuiltinFunctionType) and item.__name__ in _WHOLESALE


def _users_classes(cls: type) -> list[type]:
    """A class and its bases, without those that no user wrote."""
    return [base for base in cls.__mro__ if is_users_class(base)]


def _is_written(owner: Any, name: str) -> bool:
    """Whether a class has a method of this name that a user wrote, not `dataclass`."""
    found = _plain_function(vars(owner).get(name))
    made = "__dataclass_fields__" in vars(owner) and name != "__post_init__"
    return isinstance(found, FunctionType) and not (made and found.__code__.co_filename == "<string>")


def _plain_function(content: Any) -> Any:
    """The function in a static method or a method of the class."""
    return content.__func__ if isinstance(content, (staticmethod, classmethod)) else content


def _is_function_class(cls: type) -> bool:
    """Whether a class is an `autograd.Function`, which nobody has who did not load it."""
    module = sys.modules.get("adjit.autograd.function")
    return module is not None and issubclass(cls, module.Function)


def _is_users(module: str | None) -> bool:
    root = str(module).partition(".")[0]
    if root == "adjit":
        return is_users_module(str(module))
    return root == "__main__" or not (root in _LIBRARIES or root in sys.stdlib_module_names)


def _imported(name: str, function: FunctionType) -> ModuleType | None:
    """A module that a function imports by this name, if it is loaded."""
    package = function.__globals__.get("__package__") or ""
    return sys.modules.get(f"{package}.{name}") or sys.modules.get(name)


def _is_namespace(item: Any) -> bool:
    """Whether something is argparse's, which nobody has who did not import it."""
    argparse = sys.modules.get("argparse")
    return argparse is not None and isinstance(item, argparse.Namespace)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if not name.startswith("__"))


@functools.cache
def _module_names() -> frozenset[str]:
    """The attributes that every module has."""
    from adjit.nn.module import Module

    return frozenset(Module().__dict__)


def spaces_of(item: Any) -> list[Any]:
    """Where an object keeps what assignments to its attributes or items change."""
    if isinstance(item, (list, dict, deque, set)):
        return [item]
    own = getattr(item, "__dict__", None)
    if isinstance(item, Tensor) or not isinstance(own, dict):
        return []
    return [own, *(own[table] for table in ("_parameters", "_buffers", "_modules") if table in own)]
