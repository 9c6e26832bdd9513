"""One module's text divided into several, which LLVM compiles apart from each other and the loader links together.

The functions of a program do not depend on one another's code: the short pipeline copies always-inlined functions to
their calls, and those are in each module that calls them.  So the machine code of a function is the same however the
text is divided.  Large functions that programs have in common, such as the tiles of products, are modules of their own:
they are compiled once for all programs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from adjit.compiler.llvm.text import SHARED
from adjit.ir.frozen import frozen

# Lines for which a thread of its own pays: of the best code, which has inlined functions once for each module, some 30
# ms of LLVM's time, of quick code 3; lines of a function for which a module does.
LEAST_LINES, LEAST_QUICK, LEAST_SHARED = 800, 200, 100
_NAME = re.compile(r"@[\w.$]+|!\d+")


@frozen
class Text:
    """A module's text in parts: what stands before the functions, and by name the functions' heads and texts.

    `copied` are those that are inlined; `uses` says which functions each one names, as often as it does.
    """

    start: str
    heads: Mapping[str, str]
    bodies: Mapping[str, str]
    copied: frozenset[str]
    uses: Mapping[str, Sequence[str]]

    @property
    def names(self) -> list[str]:
        """The functions that are not copied."""
        return [name for name in self.bodies if name not in self.copied]

    def shared(self) -> dict[str, str]:
        """By name the modules of the large functions that any program may have."""
        return {
            name: _module(self, [name])
            for name in self.names
            if name.startswith(SHARED) and self.bodies[name].count("\n") >= LEAST_SHARED
        }

    def is_hot(self, name: str) -> bool:
        """Whether a function is marked as one that programs spend most of their time in."""
        return ' "hot" ' in self.heads[name]

    def is_best(self, name: str) -> bool:
        """Whether a function is marked as one whose quick code takes as long to make."""
        return ' "best" ' in self.heads[name]

    def deal(self, names: Collection[str], most: int, *, inlined: bool = True) -> list[str]:
        """These functions as at most `most` modules of about equal work.

        Functions that another module may call lose their internal linkage.  Unless `inlined`, functions are called that
        would be copied to their calls: there is less to compile, and calls take time.
        """
        lines = sum(self.bodies[name].count("\n") for name in names)
        parts = max(1, min(most, lines // (LEAST_LINES if inlined else LEAST_QUICK)))
        modules = [_module(self, own) for own in _balanced(self, names, parts) if own]
        return modules if inlined else [module.replace(") alwaysinline ", ") noinline ") for module in modules]


def divide(text: str) -> Text | None:
    """The parts of a text; None for one with variables, or with something after its functions (debug information)."""
    first = text.index("\ndefine ") + 1
    start, bodies, heads = text[:first], {}, {}
    *functions, rest = text[first:].split("\n}\n")
    for function in functions:
        head = next((line for line in function.split("\n") if line.startswith("define ") and line.endswith(" {")), "")
        if "@" not in head:
            return None
        head = head[len("define ") : -len(" {")].removeprefix("internal ")
        name = head.partition("@")[2].partition("(")[0]
        heads[name], bodies[name] = head, function + "\n}\n"
    if rest.strip() or start.count(" global ") > start.count(" external global "):  # one that the text itself defines
        return None
    copied = frozenset(name for name, head in heads.items() if " alwaysinline " in head)
    uses = {name: [used for found in _NAME.findall(body) if (used := found[1:]) in bodies and used != name]
            for name, body in bodies.items()}  # fmt: skip
    return Text(start, heads, bodies, copied, uses)


def _balanced(text: Text, names: Iterable[str], parts: int) -> list[list[str]]:
    """Functions in lists of about equal length in lines, inlined ones counted in."""
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
    return dealt


def _module(text: Text, own: Iterable[str]) -> str:
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
    return "\n".join([*_needed(text.start, bodies), *declared, "", *bodies])


def _needed(start: str, bodies: Iterable[str]) -> list[str]:
    """The lines before a module's functions that define what these name, or what such a line names in turn."""
    lines = [(line, names) for line in start.splitlines() if (names := _NAME.findall(line))]
    defined = {names[0]: names[1:] for _, names in lines}
    needed: set[str] = set()
    queue = {name for body in bodies for name in _NAME.findall(body)}
    while queue:
        needed |= queue
        queue = {used for name in queue for used in defined.get(name, ())} - needed
    return [line for line, names in lines if names[0] in needed]
