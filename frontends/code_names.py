"""The names in the code of functions, and how each is used."""

from __future__ import annotations

import dis
import functools
from dataclasses import field
from types import CodeType

from adjit.ir.frozen import fields_of, record


@record
class Names:
    """The names in a function's code and in that of those defined inside it.

    `grown` are names and keys whose list is appended to, `used` those that are used otherwise; `keyed` are names of
    what is looked up in by a constant string, `whole` those of what is used otherwise; `texts` are all strings.
    """

    globals: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    keyed: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)


@functools.lru_cache(maxsize=4096)
def names_in(code: CodeType) -> Names:
    """The names in a function's code."""
    found = Names()
    instructions = list(dis.get_instructions(code))
    for place, this in enumerate(instructions):
        kind, _, what = this.opname.partition("_")
        if kind == "IMPORT" and isinstance(this.argval, str):
            (found.imports if what == "NAME" else found.attributes).add(this.argval)
        if kind not in ("LOAD", "STORE", "DELETE"):
            continue
        after = instructions[place + 1 : place + 3]
        names = this.argval if isinstance(this.argval, tuple) else (this.argval,)
        if what.startswith(("GLOBAL", "NAME")):
            found.globals.update(names)
        elif what.startswith(("ATTR", "METHOD", "SUPER")):
            found.attributes.update(names)
        if what == "CONST":
            if isinstance(this.argval, str) and _is_lookup(after):
                (found.grown if _is_append(after[1:]) else found.used).add(this.argval)
            continue
        plain = kind == "LOAD" and len(names) == 1
        (found.grown if plain and _is_append(after) else found.used).update(names)
        (found.keyed if plain and _is_key(after) else found.whole).update(names)
    _add_computed(found, code)
    for constant in code.co_consts:
        if isinstance(constant, (str, tuple, frozenset)):
            texts = (constant,) if isinstance(constant, str) else constant
            found.texts.update(text for text in texts if isinstance(text, str))
        if isinstance(constant, CodeType):
            inner = names_in(constant)
            for name, more in fields_of(inner).items():
                getattr(found, name).update(more)
    return found


# What looks attributes and globals up by strings.
_BY_STRING = frozenset({"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller", "vars", "__dict__"})


def _add_computed(found: Names, code: CodeType) -> None:
    """Add the names that a code looks up by strings."""
    strings = {text for text in code.co_consts if isinstance(text, str) and text.isidentifier()}
    if (found.globals | found.attributes) & _BY_STRING:
        found.attributes |= strings or {"*"}
    if "globals" in found.globals:
        found.globals |= strings


def _is_append(after: list[dis.Instruction]) -> bool:
    return bool(after) and after[0].opname in ("LOAD_METHOD", "LOAD_ATTR") and after[0].argval in ("append", "extend")


def _is_key(after: list[dis.Instruction]) -> bool:
    return bool(after) and after[0].opname == "LOAD_CONST" and isinstance(after[0].argval, str)


def _is_lookup(after: list[dis.Instruction]) -> bool:
    """Whether what was loaded is the key of a lookup or of an assignment."""
    names = ("BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR", "COPY")
    return bool(after) and (after[0].opname in names or (after[0].opname == "BINARY_OP" and after[0].argrepr == "[]"))
