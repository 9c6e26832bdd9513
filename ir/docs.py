"""The vocabulary as text for people, generated from the definitions: nothing here is said a second time."""

from __future__ import annotations

from inspect import cleandoc

from adjit.ir.primitive import PRIMITIVES, Primitive

FAMILIES = (
    ("source", "Sources"),
    ("scalar", "Scalar ops"),
    ("structure", "Structure"),
    ("contraction", "Contractions"),
    ("reduction", "Reductions"),
    ("linalg", "Linear algebra"),
    ("indexing", "Indexing"),
    ("control", "Control"),
    ("boundary", "Boundary"),
)


def document(op: Primitive) -> str:
    """A section of Markdown on one op: its signature, its formula, and what is known of it."""
    lines = [f"### `{signature(op)}`", "", cleandoc(op.summary), "", f"- Derivative: {derivative(op)}."]
    if op.family != "control":
        lines.append(f"- Batched: {'by its own rule' if op.batch_rule else 'no'}.")
        lines.append(f"- Index form: {'yes' if op.index_rule else 'no'}.")
    lines.append(f"- Native results equal NumPy's {'bit for bit' if op.exact else 'within a stated error'}.")
    return "\n".join(line.rstrip() for text in lines for line in text.split("\n"))


def signature(op: Primitive) -> str:
    """`dot(x, y; contract, batch)`: operands, then attributes; those in brackets may be left out."""
    operands = [*op.operands, *(["*operands"] if op.variadic else [])]
    attributes = [f"[{name}]" if name in op.optional else name for name in op.attributes if name != "regions"]
    return f"{op.name}({'; '.join(filter(None, [', '.join(operands), ', '.join(attributes)]))})"


def derivative(op: Primitive) -> str:
    """The op's derivative fact: linear, partials with their formulas, a written rule, or none."""
    if op.constant_result:
        return "none, the result does not vary with the operands"
    if op.multilinear:
        return "linear in each operand"
    if op.transpose_rule is not None:
        return "linear"
    if op.vjp_rule is not None:
        return "by a written rule"
    if op.partials_rule is not None:
        from adjit.ir.partials import partial_text

        partials = [f"`{partial_text(op, index) or '0'}` in {name}" for index, name in enumerate(op.operands)]
        return ", ".join(partials)
    return "that of the program it runs" if op.family == "control" else "none"


def vocabulary() -> str:
    """Markdown on all registered ops, by family; the loop level documents its own."""
    sections = []
    for family, title in FAMILIES:
        ops = [op for _, op in sorted(PRIMITIVES.items()) if op.family == family]
        if ops:
            sections.append("\n\n".join([f"## {title}", *map(document, ops)]))
    return "\n\n".join(sections) + "\n"
