"""What is asked of a syntax tree: which names statements bind, how they end, what they write to."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def own(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a function's own code: what nested functions and classes hold is theirs."""
    pending = list(body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, SCOPES):
            pending.extend(ast.iter_child_nodes(node))


def assigned(body: Sequence[ast.AST]) -> list[str]:
    """The names that statements bind."""
    names: dict[str, None] = {}
    for node in own(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            names[node.id] = None
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.MatchAs, ast.MatchStar, ast.ExceptHandler)):
            names.update({} if node.name is None else {node.name: None})
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(dict.fromkeys((alias.asname or alias.name).split(".")[0] for alias in node.names))
    for node in own(body):
        if isinstance(node, _COMPREHENSIONS):  # their targets are their own
            for generator in node.generators:
                for target in ast.walk(generator.target):
                    if isinstance(target, ast.Name):
                        names.pop(target.id, None)
    return sorted(names)


_MUTATORS = frozenset({
    "append", "extend", "insert", "pop", "update", "add", "remove", "discard", "clear", "setdefault", "appendleft",
    "popleft", "reverse", "sort",
})  # fmt: skip


def written_through(body: Sequence[ast.AST]) -> list[str]:
    """The objects whose attributes or items the statements set, as expressions."""
    found: dict[str, None] = {}
    for node in own(body):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            owner = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
            owner = node.func.value
        else:
            continue
        if _is_plain(owner):
            found[ast.unparse(owner)] = None
    return list(found)


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression only looks things up by name and constant key."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and _is_plain(node.value)
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_plain(node.value))


def has(body: Sequence[ast.AST], kinds: tuple[type, ...], *, loops: bool = True) -> bool:
    """Whether a statement of these kinds is among the function's own; without `loops` not one of an inner loop."""
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, kinds):
            return True
        if isinstance(node, SCOPES) or (not loops and isinstance(node, (ast.For, ast.While))):
            continue
        pending.extend(ast.iter_child_nodes(node))
    return False


def ends(body: Sequence[ast.stmt]) -> bool:
    """Whether control never falls off the end."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, ast.If):
        return ends(last.body) and ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Raise))


def raises(body: Sequence[ast.stmt]) -> bool:
    """Whether a branch ends in `raise`, on every way through it."""
    leaving = (ast.Return, ast.Break, ast.Continue)
    return bool(body) and isinstance(body[-1], ast.Raise) and not has(body, leaving)
