"""`match` as `if`: on numbers and truth values that are not known, a case is chosen when the program runs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from adjit.capture.making import at, changed, made_expression
from adjit.capture.syntax import SCOPES


def without_matches(body: Sequence[ast.stmt], fresh: Callable[[str], str]) -> list[ast.stmt]:
    """The statements with every `match` on constants and plain names as a chain of `if`; others stay as they are."""
    return changed(_Matches(fresh), body)


class _Matches(ast.NodeTransformer):
    def __init__(self, fresh: Callable[[str], str]) -> None:
        self.fresh = fresh

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, SCOPES) else super().visit(node)

    def visit_Match(self, node: ast.Match) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        subject = self.fresh("subject")
        chain = _chain(node.cases, subject)
        if chain is None:
            return node
        return [*at(node, ast.Assign([ast.Name(subject, ast.Store())], node.subject)), *at(node, *chain)]


def _chain(cases: Sequence[ast.match_case], subject: str) -> list[ast.stmt] | None:
    """The first case that matches, as `if` and `else`; None for a pattern that looks into its subject."""
    if not cases:
        return []
    case, rest = cases[0], _chain(cases[1:], subject)
    pattern: ast.pattern = case.pattern
    name: str | None = None
    if isinstance(case.pattern, ast.MatchAs) and case.pattern.name is not None:
        pattern, name = case.pattern.pattern or ast.MatchAs(None, None), case.pattern.name
    found = _test(pattern, subject)
    if found is None or rest is None:
        return None
    tests = [*found, *([] if case.guard is None else [case.guard])]
    bound: list[ast.stmt] = [] if name is None else [_named(name, subject, case.pattern)]
    if found and bound and case.guard is not None:
        return None  # the name is bound between the two tests
    if case.guard is not None or not found:
        return [*bound, *_chosen(tests, case.body, rest, case.pattern)]
    return _chosen(tests, [*bound, *case.body], rest, case.pattern)


def _named(name: str, subject: str, pattern: ast.pattern) -> ast.stmt:
    assign = ast.Assign([ast.Name(name, ast.Store())], made_expression(subject))
    return at(pattern, assign)[0]


def _chosen(
    tests: Sequence[ast.expr], body: list[ast.stmt], rest: list[ast.stmt], pattern: ast.pattern
) -> list[ast.stmt]:
    if not tests:
        return body
    test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), list(tests))
    return at(pattern, ast.If(test, body, rest))


def _test(pattern: ast.pattern, subject: str) -> list[ast.expr] | None:
    """What has to hold for a pattern to match: nothing for `_`; None where it cannot be said of a number."""
    match pattern:
        case ast.MatchAs(pattern=None, name=None):
            return []
        case ast.MatchValue(value=value):
            return [ast.Compare(made_expression(subject), [ast.Eq()], [value])]
        case ast.MatchSingleton(value=value):
            return [made_expression(f"_adjit_.is_({subject}, {value!r})")]
        case ast.MatchOr(patterns=patterns):
            tests = [_test(each, subject) for each in patterns]
            if not all(tests):
                return None
            return [ast.BoolOp(ast.Or(), [part for test in tests if test is not None for part in test])]
    return None
