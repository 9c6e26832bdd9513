"""One module's text dealt out to several, which LLVM compiles at the same time and the loader links together.

The functions of a program do not depend on one another's code: the short pipeline copies always-inlined functions to
their calls, and those are in each module that calls them.  So the machine code of a function is the same however the
text is dealt out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence

from adjit.ir.frozen import frozen

# Lines for which a thread of its own pays: some 30 ms of LLVM's time.
LEAST_LINES = 800
_MAGIC = b"adjitset"
_COUNT = struct.Struct("<Q")
_DEFINITION = re.compile(r"^define (?:internal )?(?P<head>[^\n]*?@(?P<name>[\w.$]+)\([^\n]*\)[^\n]*) \{$", re.MULTILINE)
_REFERENCE = re.compile(r"@([\w.$]+)")


@frozen
class _Text:
    """A module's text in parts: what stands before the functions, and by name the functions' heads and texts.

    `copied` are those that are inlined; `uses` says which functions each one names, as often as it does.
    """

    start: str
    heads: Mapping[str, str]
    bodies: Mapping[str, str]
    copied: frozenset[str]
    uses: Mapping[str, Sequence[str]]


def deal(text: str, most: int) -> list[str]:
    """The text as at most `most` modules of about equal work; itself where one is enough, or it has state.

    Functions that another module may call lose their internal linkage.
    """
    parts = min(most, text.count("\n") // LEAST_LINES)
    found = _read(text) if parts > 1 else None
    if found is None:
        return [text]
    return [_module(found, own) for own in _balanced(found, _not_copied(found), parts) if own]


def deal_by_heat(text: str, most: int) -> list[tuple[str, str]] | None:
    """The text as at most `most` pairs of modules: of the functions marked `hot`, and of the others, either empty.

    None for a text that has state.
    """
    found = _read(text)
    if found is None:
        return None
    names = _not_copied(found)
    hot = [name for name in names if " hot " in found.heads[name]]
    cold = [name for name in names if " hot " not in found.heads[name]]
    parts = max(1, min(most, text.count("\n") // LEAST_LINES))
    dealt = zip(_balanced(found, hot, parts), reversed(_balanced(found, cold, parts)), strict=True)
    return [tuple(_module(found, own) if own else "" for own in pair) for pair in dealt]  # type: ignore[misc]


def pack(objects: Sequence[bytes]) -> bytes:
    """Objects as one run of bytes; a single one as it is."""
    if len(objects) == 1:
        return objects[0]
    return b"".join([_MAGIC, _COUNT.pack(len(objects)), *(_COUNT.pack(len(each)) + each for each in objects)])


def unpack(code: bytes) -> list[bytes]:
    """The objects in a run of bytes."""
    if not code.startswith(_MAGIC):
        return [code]
    (count,) = _COUNT.unpack_from(code, len(_MAGIC))
    objects, place = [], len(_MAGIC) + _COUNT.size
    for _ in range(count):
        (size,) = _COUNT.unpack_from(code, place)
        place += _COUNT.size
        objects.append(code[place : place + size])
        place += size
    return objects


def _read(text: str) -> _Text | None:
    """The parts of a text; None for one with variables, or with something after its functions (debug information)."""
    first = text.index("\ndefine ") + 1
    start, bodies, heads = text[:first], {}, {}
    *functions, rest = text[first:].split("\n}\n")
    for function in functions:
        found = _DEFINITION.search(function)
        if found is None:
            return None
        heads[found["name"]], bodies[found["name"]] = found["head"], function + "\n}\n"
    if rest.strip() or " global " in start:
        return None
    copied = frozenset(name for name, head in heads.items() if " alwaysinline " in head)
    uses = {name: [used for used in _REFERENCE.findall(body) if used in bodies and used != name]
            for name, body in bodies.items()}  # fmt: skip
    return _Text(start, heads, bodies, copied, uses)


def _not_copied(text: _Text) -> list[str]:
    return [name for name in text.bodies if name not in text.copied]


def _balanced(text: _Text, names: Iterable[str], parts: int) -> list[list[str]]:
    """Functions in lists of about equal length in lines, inlined ones counted in; the longest list first."""
    lines = {name: body.count("\n") for name, body in text.bodies.items()}
    weights = {
        name: lines[name] + sum(lines[used] for used in text.uses[name] if used in text.copied) for name in names
    }
    dealt: list[list[str]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        least = loads.index(min(loads))
        dealt[least].append(name)
        loads[least] += weights[name]
    return [own for _, own in sorted(zip(loads, dealt, strict=True), key=lambda pair: -pair[0])]


def _module(text: _Text, own: Iterable[str]) -> str:
    """The text of a module with `own` functions, those that are inlined into them, and declarations of the others."""
    present = dict.fromkeys(own)
    named: dict[str, None] = {}
    queue = list(present)
    while queue:
        for used in text.uses[queue.pop()]:
            if used in text.copied and used not in present:
                present[used] = None
                queue.append(used)
            named[used] = None
    declared = [f"declare {text.heads[name]}" for name in named if name not in present]
    bodies = [
        text.bodies[name] if name in text.copied else text.bodies[name].replace("define internal ", "define ", 1)
        for name in present
    ]
    return "\n".join([text.start.rstrip("\n"), *declared, "", *bodies])
