"""Modules under the names by which programs import them from PyTorch, of what stands elsewhere here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def modules_of(package: str, contents: Mapping[str, Mapping[str, Any]]) -> dict[str, ModuleType]:
    """Modules of a package with these contents, known to `import` from here on."""
    found = {}
    for name, members in contents.items():
        module = found[name] = ModuleType(f"{package}.{name}")
        module.__dict__.update(members, __all__=list(members))
        sys.modules[module.__name__] = module
    return found
