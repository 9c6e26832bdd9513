"""Pieces of syntax trees, made from text and put in the place of what they stand for."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TypeVar


def made_statement(text: str) -> ast.stmt:
    """The statement that a text says."""
    return _placeless(ast.parse(text).body[0])


def made_expression(text: str) -> ast.expr:
    """The expression that a text says."""
    return _placeless(ast.parse(text, mode="eval").body)


_Tree = TypeVar("_Tree", bound=ast.AST)


def _placeless(tree: _Tree) -> _Tree:
    """The tree without the places in the text that it was parsed from: it gets those of what it stands for."""
    for part in ast.walk(tree):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            if hasattr(part, name):
                delattr(part, name)
    return tree


def at(node: ast.AST, *made: ast.stmt) -> list[ast.stmt]:
    """The statements, said to stand where `node` does."""
    for made_one in made:
        for part in ast.walk(made_one):
            if not hasattr(part, "lineno") and isinstance(part, (ast.stmt, ast.expr, ast.arg, ast.alias)):
                ast.copy_location(part, node)
    return list(made)


def changed(changer: ast.NodeTransformer, body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """The statements as a transformer leaves them, which makes several of some."""
    result: list[ast.stmt] = []
    for statement in body:
        found = changer.visit(statement)
        result += found if isinstance(found, list) else [found]
    return result


def located(call: ast.Call, node: ast.expr) -> ast.Call:
    """The call, said to stand where `node` does."""
    for part in ast.walk(call):
        if isinstance(part, ast.expr) and not hasattr(part, "lineno"):
            ast.copy_location(part, node)
    return ast.copy_location(call, node)
