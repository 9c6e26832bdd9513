"""FILE:FUNC: a user's script is imported, as `import` would do it, and the function, module or method found."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from adjit.command.failure import ScriptEnded, UsageError
from adjit.jit import CompiledFunction, compile
from adjit.nn.module import Module
from adjit.sample_arguments import ATTRIBUTE


@dataclass(frozen=True, slots=True)
class Target:
    """What FILE:FUNC names: `name` as printed, `object` as found, `compiled` as it runs."""

    name: str
    object: Any
    compiled: CompiledFunction

    @property
    def signature(self) -> inspect.Signature:
        """The parameters of a call."""
        function = self.compiled.function
        return inspect.signature(function.forward if isinstance(function, Module) else function)


def find(text: str) -> Target:
    """The target of `FILE:FUNC` or `MODULE:FUNC`; FUNC may be dotted, and may be left out where only one can be meant.

    A class on the way stands for an instance made without arguments.
    Errors: UsageError where nothing is found; what the script itself raises.
    """
    place, _, path = text.rpartition(":") if _has_name(text) else (text, "", "")
    module = load(place)
    path = path or _only_choice(module, place)
    found: Any = module
    for part in path.split("."):
        if inspect.isclass(found):
            found = _instance(found)
        if not hasattr(found, part):
            where = place if found is module else f"{place}:{path[: path.index(part) - 1]}"
            raise UsageError(f"{where} has no {part!r}; it has {_listed(choices(found)) or 'nothing to compile'}")
        found = getattr(found, part)
    if inspect.isclass(found):
        found = _instance(found)
    if not callable(found):
        raise UsageError(f"{place}:{path} is {type(found).__name__}, which cannot be called")
    compiled = found if isinstance(found, CompiledFunction) else compile(found)
    return Target(f"{place}:{path}", found, compiled)


def load(place: str) -> ModuleType:
    """The module of a script, or an importable module; `if __name__ == "__main__"` does not hold in it.

    A script's folder is put on the path, or where it is part of a package, the package's.
    """
    file = Path(place)
    if file.suffix != ".py" and not file.exists():
        if all(part.isidentifier() for part in place.split(".")):
            return _imported(place)
        raise UsageError(f"no file {place}")
    if not file.is_file():
        raise UsageError(f"no file {place}")
    file = file.resolve()
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if folder != file.parent:
        return importlib.import_module(".".join(file.relative_to(folder).with_suffix("").parts))
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else f"script_{abs(hash(file))}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{place} is no Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as stop:
        raise ScriptEnded(f"{place} called sys.exit({stop.code!r}) while it was imported") from stop
    return module


def _imported(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"no file {name}, and no module of that name") from None
        raise


def _has_name(text: str) -> bool:
    """Whether the text after the last colon is a dotted name, and not the rest of a path such as C:\\\\x.py."""
    place, colon, name = text.rpartition(":")
    return bool(colon and place) and all(part.isidentifier() for part in name.split("."))


def choices(owner: Any) -> list[str]:
    """The names in a module or object that a user may have meant: own functions, compiled ones, networks."""
    here = getattr(owner, "__name__", None) if isinstance(owner, ModuleType) else None
    found = []
    for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
        own = here is None or getattr(value, "__module__", None) == here
        kinds = isinstance(value, (CompiledFunction, Module)) or (own and inspect.isroutine(value))
        network = own and inspect.isclass(value) and issubclass(value, Module)
        if not name.startswith("_") and (kinds or network):
            found.append(name)
    return found


def _only_choice(module: ModuleType, place: str) -> str:
    names = choices(module)
    with_inputs = [name for name in names if hasattr(getattr(module, name), ATTRIBUTE)]
    compiled = [name for name in names if isinstance(getattr(module, name), CompiledFunction)]
    meant = with_inputs or compiled or names
    if not meant:
        raise UsageError(f"{place} has no function")
    if len(meant) > 1:
        raise UsageError(f"say which function: {_listed([f'{place}:{name}' for name in meant])}")
    return meant[0]


def _instance(found: type) -> Any:
    try:
        return found()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise
        raise UsageError(f"{found.__name__} cannot be made without arguments: {error}; name an instance") from None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
