"""`return` inside `with` and `try`, and in the `else` of a loop: the block sets a flag, and what follows it returns."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from adjit.capture.making import at, changed, made_expression, made_statement
from adjit.capture.syntax import SCOPES, ends, has


def left_by_flags(body: Sequence[ast.stmt], fresh: Callable[[str], str]) -> list[ast.stmt]:
    """The statements without `return` in `with`, in `try` and in the `else` of loops.

    Such a block is a loop of one turn, which `break` leaves where `return` stood.
    """
    return changed(_Blocks(fresh), body)


class _Blocks(ast.NodeTransformer):
    def __init__(self, fresh: Callable[[str], str]) -> None:
        self.fresh = fresh

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, SCOPES) else super().visit(node)

    def visit_For(self, node: ast.For) -> ast.AST | list[ast.stmt]:
        return self.loop(node)

    def visit_While(self, node: ast.While) -> ast.AST | list[ast.stmt]:
        return self.loop(node)

    def loop(self, node: ast.For | ast.While) -> ast.AST | list[ast.stmt]:
        """A loop whose `else` returns: that stands after it, and a flag tells whether the loop came to its end."""
        self.generic_visit(node)
        if not has(node.orelse, (ast.Return,)):
            return node
        ended = self.fresh("ended")
        after = ast.If(made_expression(ended), node.orelse, [])
        node.orelse = at(node, made_statement(f"{ended} = True"))
        return [*at(node, made_statement(f"{ended} = False")), node, *at(node, after)]

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if not _chooses(node):
            return node
        returned, value = self.fresh("returned"), self.fresh("value")
        whole = ends(node.body)
        node.body = self.once(node, node.body, returned, value)
        return self.returning(node, returned, value, whole)

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if not _chooses(node) or has(node.finalbody, (ast.Return,)):
            return node
        returned, value = self.fresh("returned"), self.fresh("value")
        whole = ends(node.orelse or node.body) and all(ends(handler.body) for handler in node.handlers)
        node.body = self.once(node, node.body, returned, value)
        for handler in node.handlers:
            handler.body = self.once(node, handler.body, returned, value)
        if node.orelse:
            rest = self.once(node, node.orelse, returned, value)
            node.orelse = at(node, ast.If(made_expression(f"not {returned}"), rest, []))
        return self.returning(node, returned, value, whole)

    def once(self, node: ast.stmt, body: list[ast.stmt], returned: str, value: str) -> list[ast.stmt]:
        """The statements of a block, where they return as a loop of one turn that `break` leaves."""
        if not has(body, (ast.Return,)):
            return body
        left = changed(Leave(returned, value), body)
        turn = ast.Name(self.fresh("turn"), ast.Store())
        return at(node, ast.For(turn, made_expression("(0,)"), left, []))

    def returning(self, node: ast.stmt, returned: str, value: str, whole: bool) -> list[ast.stmt]:
        """The block between its flag and the `return`, which always comes where the block `whole` returns."""
        result: ast.stmt = ast.Return(made_expression(value))
        after = result if whole else ast.If(made_expression(returned), [result], [])
        return [*at(node, made_statement(f"{returned} = False")), node, *at(node, after)]


class Leave(ast.NodeTransformer):
    """`return` as a flag and a `break`, which the loops around take up."""

    def __init__(self, flag: str, value: str) -> None:
        self.flag, self.value = flag, value

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, SCOPES) else super().visit(node)

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        kept = ast.Assign([ast.Name(self.value, ast.Store())], node.value or ast.Constant(None))
        return at(node, made_statement(f"{self.flag} = True"), kept, ast.Break())

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        return self.loop(node)

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        return self.loop(node)

    def loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        """A loop that is left where the flag is set in it, and the loop around with it."""
        left = has([node], (ast.Return,))
        self.generic_visit(node)
        return [node, *at(node, ast.If(made_expression(self.flag), [ast.Break()], []))] if left else [node]


def _chooses(node: ast.stmt) -> bool:
    """Whether a block returns on some ways through it alone."""
    return has([node], (ast.If, ast.For, ast.While, ast.ExceptHandler)) and has([node], (ast.Return,))
