"""One module's text dealt out to several, which LLVM compiles at the same time and the loader links together.

The functions of a program do not depend on one another's code: the short pipeline copies always-inlined functions to
their calls, and those are in each module that calls them.  So the machine code of a function is the same however the
text is dealt out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Lines for which a thread of its own pays: some 30 ms of LLVM's time.
LEAST_LINES = 800

_DEFINITION = re.compile(r"^define (?:internal )?(?P<head>.*?@(?P<name>[\w.$]+)\(.*) \{$", re.MULTILINE)
_REFERENCE = re.compile(r"@([\w.$]+)")


def deal(text: str, most: int) -> list[str]:
    """The text as at most `most` modules of about equal work; itself where one is enough.

    Functions that are called from another module lose their internal linkage.
    """
    parts = min(most, text.count("\n") // LEAST_LINES)
    if parts < 2 or "\n!llvm.dbg.cu" in text:
        return [text]
    first = text.index("\ndefine ") + 1
    head, bodies = text[:first], [body + "\n}\n" for body in text[first:].split("\n}\n")[:-1]]
    tail = text[first + sum(map(len, bodies)) :]
    if tail.strip():
        return [text]
    functions = {match["name"]: (match["head"], body) for body in bodies if (match := _DEFINITION.search(body))}
    copied = {name for name, (start, _) in functions.items() if " alwaysinline " in start}
    uses = {name: _uses(name, functions) for name in functions}
    modules = [_module(head, functions, copied, uses, own) for own in _balanced(functions, copied, uses, parts)]
    return modules


def _uses(name: str, functions: dict[str, tuple[str, str]]) -> list[str]:
    """The module's functions that a function names, as often as it does."""
    return [found for found in _REFERENCE.findall(functions[name][1]) if found in functions and found != name]


def _balanced(
    functions: dict[str, tuple[str, str]], copied: set[str], uses: dict[str, list[str]], parts: int
) -> list[list[str]]:
    """The functions that are not copied, in lists of about equal length in lines, inlined ones counted in."""
    lines = {name: body.count("\n") for name, (_, body) in functions.items()}
    weights = {
        name: lines[name] + sum(lines[used] for used in uses[name] if used in copied)
        for name in functions
        if name not in copied
    }
    dealt: list[list[str]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        least = loads.index(min(loads))
        dealt[least].append(name)
        loads[least] += weights[name]
    return dealt


def _module(
    head: str,
    functions: dict[str, tuple[str, str]],
    copied: set[str],
    uses: dict[str, list[str]],
    own: Sequence[str],
) -> str:
    """The text of a module with `own` functions, those that are inlined into them, and declarations of the others."""
    present = dict.fromkeys(own)
    queue = list(own)
    named: dict[str, None] = {}
    while queue:
        for used in uses[queue.pop()]:
            if used in copied and used not in present:
                present[used] = None
                queue.append(used)
            named[used] = None
    declared = [f"declare {functions[name][0]}" for name in named if name not in present]
    bodies = [functions[name][1] for name in present]
    texts = [body if name in copied else body.replace("define internal ", "define ", 1)
             for name, body in zip(present, bodies, strict=True)]  # fmt: skip
    return "\n".join([head.rstrip("\n"), *declared, "", *texts])
