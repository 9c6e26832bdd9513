"""What a backward program uses of the forward one: given, saved or computed again, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adjit.compiler.differentiate import CHEAP, Derivative
from adjit.inspection.facts import SavedFacts
from adjit.inspection.programs import place_text
from adjit.ir.graph import Node, Value
from adjit.ir.printer import value_names
from adjit.ir.shape import evaluate


def saved_facts(derivative: Derivative, sizes: Mapping[str, int]) -> Iterator[SavedFacts]:
    """A fact for each forward value that the backward program mentions."""
    backward, forward = derivative.backward, derivative.forward
    names, own = value_names(forward), value_names(backward)
    users: dict[Value, list[Node]] = {}
    for node in backward.walk():
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    count = len(derivative.seeded)
    for value, inner in zip(derivative.residuals, backward.inputs[count:], strict=True):
        used = _used_by(users.get(inner, []))
        if value.node is None:
            yield SavedFacts(f"%{names[value]}", "input", _bytes(value, sizes), "", f"the caller has it; {used}")
            continue
        name = value.node.op.name
        why = f"{name} is dear to run again" if name not in CHEAP else f"{name} would need more to be kept"
        yield SavedFacts(f"%{names[value]}", "saved", _bytes(value, sizes), place_text(value.node.location),
                         f"{why}; {used}")  # fmt: skip
    for node in backward.nodes:
        if node.location.note.startswith("run again") and node.op.name != "const":
            for value in node.outputs:
                why = f"{node.op.name} is cheap, and what it takes is there; {_used_by(users.get(value, []))}"
                yield SavedFacts(f"%{own[value]}", "recomputed", _bytes(value, sizes), place_text(node.location), why)


def _used_by(nodes: list[Node]) -> str:
    names = dict.fromkeys(f"{node.op.name} at {place_text(node.location)}" for node in nodes)
    shown = ", ".join(list(names)[:3])
    return f"used by {shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else "for its sizes"


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    size = value.type.size
    return (size if isinstance(size, int) else evaluate(size, dict(sizes))) * value.dtype.itemsize
