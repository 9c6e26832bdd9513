"""Rewriting a function's syntax tree: control flow becomes calls of `adjit.capture.runtime`.

An `if` or a loop becomes functions for its parts, which share the variables of the function around them; those that a
part assigns are its state.  Before that, `return` inside an `if` is made the last thing of both branches, and `break`,
`continue` and `return` inside a loop become flags.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from copy import deepcopy

from adjit.capture.blocks import Leave, left_by_flags
from adjit.capture.making import at, changed, located, made_expression, made_statement
from adjit.capture.matching import without_matches
from adjit.capture.syntax import assigned, ends, has, own, raises, written_through

RUNTIME = "_adjit_"
# Python's `operator` has these in place.
_IN_PLACE = {
    ast.Add: "iadd", ast.Sub: "isub", ast.Mult: "imul", ast.Div: "itruediv", ast.FloorDiv: "ifloordiv", ast.Mod: "imod",
    ast.Pow: "ipow", ast.BitAnd: "iand", ast.BitOr: "ior", ast.BitXor: "ixor",
    ast.LShift: "ilshift", ast.RShift: "irshift",
}  # fmt: skip
# And these for comparisons.
_COMPARISONS = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}
_CALLS = ("any", "all", "min", "max", "float", "int", "bool", "str", "repr", "format")


class NotCapturable(Exception):
    """The function has something that cannot be rewritten; the text says what."""


def rewritten(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function with its control flow as calls of the runtime, which it imports first.

    Errors: NotCapturable for generators and coroutines.
    """
    for node in own(function.body):
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await)):
            raise NotCapturable("it is a generator or a coroutine")
    result = deepcopy(function)
    result.decorator_list = []
    _Function(result).rewrite()
    result.body.insert(0, made_statement(f"import adjit.capture.runtime as {RUNTIME}"))
    return ast.fix_missing_locations(result)


class _Function(ast.NodeTransformer):
    """One function's rewriting."""

    def __init__(self, function: ast.FunctionDef) -> None:
        self.function = function
        self.count = 0
        self.state: dict[str, None] = {}
        arguments = function.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
        self.parameters = {argument.arg for argument in given}
        outside = [node for node in own(function.body) if isinstance(node, (ast.Global, ast.Nonlocal))]
        self.globals = {name for node in outside if isinstance(node, ast.Global) for name in node.names}
        self.foreign = {name for node in outside for name in node.names}
        self.catching = 0  # how many `try` with handlers are around

    def rewrite(self) -> None:
        """Rewrite the body in place."""
        body = left_by_flags(without_matches(self.function.body, self.fresh), self.fresh)
        body = self.statements(self.returns_last(body))
        start = [
            made_statement(f"{name} = {RUNTIME}.Undefined({name!r})")
            for name in self.state
            if name not in self.parameters
        ]
        keep = 1 if ast.get_docstring(self.function) is not None else 0
        self.function.body = body[:keep] + start + body[keep:]

    def fresh(self, stem: str) -> str:
        """A name that no program uses."""
        self.count += 1
        return f"{RUNTIME}{stem}{self.count}"

    # -- returns ------------------------------------------------------------------------------------------------------
    def returns_last(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements with every `if` that returns made the last: what follows it goes into its branches."""
        result: list[ast.stmt] = []
        for place, statement in enumerate(body):
            rest = list(body[place + 1 :])
            if isinstance(statement, ast.If) and has([*statement.body, *statement.orelse], (ast.Return,)):
                branches = []
                for branch in (statement.body, statement.orelse):
                    whole = self.returns_last([*branch, *deepcopy(rest)] if not ends(branch) else branch)
                    if not ends(whole):
                        whole += at(statement, ast.Return(ast.Constant(None)))
                    branches.append(whole)
                result += at(statement, ast.If(statement.test, *branches))
                return result
            if isinstance(statement, (ast.For, ast.While)) and has(statement.body, (ast.Return,)):
                return result + self.returns_last([*self.out_of_loop(statement), *rest])
            result.append(statement)
        return result

    def out_of_loop(self, loop: ast.For | ast.While) -> list[ast.stmt]:
        """A loop whose `return` is a flag and a `break`, and an `if` after it."""
        flag, value = self.fresh("returned"), self.fresh("value")
        loop.body = changed(Leave(flag, value), loop.body)
        after = ast.If(ast.Name(flag, ast.Load()), [ast.Return(ast.Name(value, ast.Load()))], [])
        return [*at(loop, made_statement(f"{flag} = False")), loop, *at(loop, after)]

    # -- breaks -------------------------------------------------------------------------------------------------------
    def with_flags(self, loop: ast.For | ast.While) -> tuple[list[ast.stmt], list[ast.stmt], str]:
        """What stands before a loop, its body without `break` and `continue`, and the name of the flag of a `break`."""
        broken, skipped = self.fresh("broken"), self.fresh("skipped")

        def guarded(body: Sequence[ast.stmt]) -> list[ast.stmt]:
            result: list[ast.stmt] = []
            for place, statement in enumerate(body):
                if isinstance(statement, (ast.Break, ast.Continue)):
                    flag = broken if isinstance(statement, ast.Break) else skipped
                    return result + at(statement, made_statement(f"{flag} = True"))
                if not has([statement], (ast.Break, ast.Continue), loops=False):
                    result.append(statement)
                    continue
                if isinstance(statement, (ast.With, ast.Try)):
                    result.append(guarded_blocks(statement))
                elif isinstance(statement, ast.If):
                    branches = guarded(statement.body), guarded(statement.orelse)
                    result += at(statement, ast.If(statement.test, *branches))
                else:
                    result.append(statement)
                rest = guarded(body[place + 1 :])
                if rest:
                    result += at(statement, ast.If(none_set(), rest, []))
                return result
            return result

        def guarded_blocks(block: ast.With | ast.Try) -> ast.stmt:
            block.body = guarded(block.body)
            if isinstance(block, ast.Try):
                for handler in block.handlers:
                    handler.body = guarded(handler.body)
                if block.orelse:
                    block.orelse = at(block, ast.If(none_set(), guarded(block.orelse), []))
                block.finalbody = guarded(block.finalbody)
            return block

        def none_set() -> ast.expr:
            return made_expression(f"not ({' or '.join(flags)})")

        leaves, skips = (has(loop.body, (kind,), loops=False) for kind in (ast.Break, ast.Continue))
        flags = [flag for flag, used in ((broken, leaves), (skipped, skips)) if used]
        if not flags:
            return [], list(loop.body), ""
        before = at(loop, *(made_statement(f"{flag} = False") for flag in flags))  # they belong to the code around it
        start = at(loop, made_statement(f"{skipped} = False")) if skips else []
        return before, [*start, *guarded(loop.body)], broken if leaves else ""

    # -- statements ---------------------------------------------------------------------------------------------------
    def statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Each statement rewritten."""
        return changed(self, body)

    def parts(self, node: ast.stmt, body: Sequence[ast.AST]) -> tuple[list[str], list[ast.stmt], str]:
        """The state of a part of the program, the functions that read and set it, and their names as arguments."""
        names = assigned(body)
        self.state.update(dict.fromkeys(name for name in names if name not in self.foreign))
        get, put = self.fresh("get"), self.fresh("put")
        listed = "".join(f"{name}, " for name in names)
        made = [made_statement(f"def {get}():\n    return ({listed})")]
        lines = [*self.shared(names), f"{listed}= _values" if names else "pass"]
        made.append(made_statement(f"def {put}(_values):\n    " + "\n    ".join(lines)))
        held = "".join(f"lambda: {owner}, " for owner in written_through(body))
        return names, at(node, *made), f"{get}, {put}, {tuple(names)!r}, ({held})"

    def shared(self, names: Sequence[str]) -> list[str]:
        """The declarations by which a nested function assigns variables of this one."""
        outer = [name for name in names if name in self.globals]
        kinds = (("nonlocal", [name for name in names if name not in self.globals]), ("global", outer))
        return [f"{kind} {', '.join(listed)}" for kind, listed in kinds if listed]

    def function_of(
        self, node: ast.stmt, stem: str, body: Sequence[ast.stmt], names: Sequence[str], argument: str = ""
    ) -> tuple[str, ast.stmt]:
        """A nested function for statements that assign `names` of the function around."""
        name = self.fresh(stem)
        made = made_statement(f"def {name}({argument}): pass")
        assert isinstance(made, ast.FunctionDef)
        made.body = [*map(made_statement, self.shared(names)), *body] or [ast.Pass()]
        return name, at(node, made)[0]

    def visit_If(self, node: ast.If) -> list[ast.stmt]:
        if raises(node.body):
            return self.raising(node, node.body, node.orelse, negated=False)
        if raises(node.orelse):
            return self.raising(node, node.orelse, node.body, negated=True)
        returns = has([*node.body, *node.orelse], (ast.Return,))
        test = self.visit(node.test)
        names, made, state = self.parts(node, [*node.body, *node.orelse])
        then, first = self.function_of(node, "then", self.statements(node.body), names)
        other, second = self.function_of(node, "else", self.statements(node.orelse) or [ast.Pass()], names)
        call = made_expression(f"{RUNTIME}.if_(None, {then}, {other}, {state}, {returns})")
        assert isinstance(call, ast.Call)
        call.args[0] = test
        final: ast.stmt = ast.Return(call) if returns else ast.Expr(call)
        return [*made, first, second, *at(node.test, final)]  # a call of several lines would stand at the last one

    def raising(
        self, node: ast.If, body: Sequence[ast.stmt], rest: Sequence[ast.stmt], *, negated: bool
    ) -> list[ast.stmt]:
        """An `if` with a branch that ends in `raise`: the other branch goes on after it."""
        names, made, _ = self.parts(node, body)
        then, first = self.function_of(node, "raise", self.statements(body), names)
        get, put = (statement.name for statement in made if isinstance(statement, ast.FunctionDef))
        call = made_expression(f"{RUNTIME}.raise_if(None, {then}, {get}, {put}, {negated}, {bool(self.catching)})")
        assert isinstance(call, ast.Call)
        call.args[0] = self.visit(node.test)
        return [*made, first, *at(node.test, ast.Expr(call)), *self.statements(rest)]

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        self.generic_visit(node)
        call = self.deferred("assert_", node.test, [node.test, *([] if node.msg is None else [node.msg])])
        return at(node, ast.Expr(call))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self.generic_visit(node)
        target, name = node.target, _IN_PLACE.get(type(node.op))
        if name is None or not isinstance(target, ast.Subscript):
            return node
        call = made_expression(f"{RUNTIME}.augmented(None, None, {name!r}, None)")
        assert isinstance(call, ast.Call)
        call.args = [target.value, _index_expression(target.slice), call.args[2], node.value]
        return at(node, ast.Expr(located(call, target)))[0]

    def visit_Try(self, node: ast.Try) -> ast.Try:
        self.catching += bool(node.handlers)
        node.body = self.statements(node.body)
        self.catching -= bool(node.handlers)
        node.handlers = [self.visit(handler) for handler in node.handlers]
        node.orelse, node.finalbody = self.statements(node.orelse), self.statements(node.finalbody)
        return node

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        if has([node.test], (ast.NamedExpr,)):  # what it binds is wanted after the loop, too
            if node.orelse:
                raise NotCapturable("the condition of a while loop with an else binds a name")
            leave = ast.If(ast.UnaryOp(ast.Not(), node.test), [ast.Break()], [])
            node = ast.copy_location(ast.While(ast.Constant(True), [*at(node.test, leave), *node.body], []), node)
        start, body, broken = self.with_flags(node)
        test = node.test
        if broken:
            test = ast.BoolOp(ast.And(), [made_expression(f"not {broken}"), test])
        names, made, state = self.parts(node, [*body, ast.Expr(test)])
        question, first = self.function_of(node, "test", at(node, ast.Return(self.visit(test))), names)
        step, second = self.function_of(node, "body", self.statements(body), names)
        call = made_statement(f"{RUNTIME}.while_({question}, {step}, {state})")
        return [*start, *made, first, second, *at(node.test, call), *self.otherwise(node, broken)]

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        start, body, broken = self.with_flags(node)
        target = node.target
        if broken:
            target, written = self.without_places(target)
            body = at(node, ast.If(made_expression(f"not {broken}"), [*at(node, *written), *body], []))
        item = self.fresh("item")
        names, made, state = self.parts(node, [node.target, *body])
        taken = at(node, ast.Assign([target], ast.Name(item, ast.Load())))
        step, second = self.function_of(node, "body", [*taken, *self.statements(body)], names, item)
        targets = [names.index(name) for name in assigned([node.target])] if broken else []
        call = made_expression(f"{RUNTIME}.for_(None, {step}, {state}, {broken!r}, {targets!r})")
        assert isinstance(call, ast.Call)
        rows = self.visit(node.iter)
        if isinstance(rows, ast.Call) and isinstance(rows.func, ast.Name) and rows.func.id == "range":
            rows.func = made_expression(f"{RUNTIME}.range_")
        call.args[0] = rows
        return [*start, *made, second, *at(node.iter, ast.Expr(call)), *self.otherwise(node, broken)]

    def without_places(self, target: ast.expr) -> tuple[ast.expr, list[ast.stmt]]:
        """A target with own names for attributes and items, and for what stands to their right, and what sets these.

        Turns after a `break` write to no place: only the assignments stand where these turns do nothing.
        """
        written: list[ast.stmt] = []

        def plain(part: ast.expr) -> ast.expr:
            if isinstance(part, (ast.Tuple, ast.List)):
                return ast.copy_location(ast.Tuple([plain(each) for each in part.elts], ast.Store()), part)
            if isinstance(part, ast.Starred):
                return ast.copy_location(ast.Starred(plain(part.value), ast.Store()), part)
            if isinstance(part, ast.Name) and not written:
                return part
            name = self.fresh("target")
            written.append(ast.Assign([part], ast.Name(name, ast.Load())))
            return ast.copy_location(ast.Name(name, ast.Store()), part)

        return plain(target), written

    def otherwise(self, node: ast.For | ast.While, broken: str) -> list[ast.stmt]:
        """What stands in a loop's `else`."""
        if not node.orelse:
            return []
        if not broken:
            return self.statements(node.orelse)
        return self.statements(at(node, ast.If(made_expression(f"not {broken}"), node.orelse, [])))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if not any(isinstance(inner, (ast.Yield, ast.YieldFrom, ast.Await)) for inner in own(node.body)):
            _Function(node).rewrite()
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        self.generic_visit(node)
        for part in ast.walk(node):
            if isinstance(part, (ast.Tuple, ast.List)):
                part.elts = [self.given(value) for value in part.elts]
        node.value = None if node.value is None else self.given(node.value)
        return node

    @staticmethod
    def given(value: ast.expr) -> ast.expr:
        """The expression, where it is a name one that raises if the variable has no value."""
        if not isinstance(value, ast.Name) or not isinstance(value.ctx, ast.Load):
            return value
        return ast.copy_location(made_expression(f"{RUNTIME}.given({value.id})"), value)

    # -- expressions --------------------------------------------------------------------------------------------------
    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        node.body = self.visit(node.body)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        if any(isinstance(part, ast.NamedExpr) for part in ast.walk(node)):
            return node
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        return self.deferred(name, node, node.values)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if any(isinstance(part, ast.NamedExpr) for part in ast.walk(node)):
            return node
        call = self.deferred("choose", node, [node.test, node.body, node.orelse])
        call.args[0] = node.test
        return call

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Not):
            return node
        call = self.deferred("not_", node, [node.operand])
        call.args[0] = node.operand
        return call

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            call = made_expression(f"{RUNTIME}.in_(None, None)")
            assert isinstance(call, ast.Call)
            call.args = [node.left, *node.comparators]
            found: ast.expr = located(call, node)
            if isinstance(node.ops[0], ast.NotIn):
                found = located(ast.Call(made_expression(f"{RUNTIME}.not_"), [found], []), node)
            return found
        match node:
            case ast.Compare(ops=[ast.Is() | ast.IsNot() as op], comparators=[ast.Constant(value=bool() as value)]):
                found = located(ast.Call(made_expression(f"{RUNTIME}.is_"), [node.left, ast.Constant(value)], []), node)
                if isinstance(op, ast.IsNot):
                    found = located(ast.Call(made_expression(f"{RUNTIME}.not_"), [found], []), node)
                return found
        names = [_COMPARISONS.get(type(op)) for op in node.ops]
        if len(names) < 2 or None in names or has([node], (ast.NamedExpr,)):
            return node
        call = self.deferred("compared", node, [node.left, *node.comparators])
        call.args.insert(0, ast.copy_location(made_expression(repr(tuple(names))), node))
        return located(call, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS and node.func.id not in self.parameters:
            node.func = ast.copy_location(made_expression(f"{RUNTIME}.{node.func.id}_"), node.func)
        elif self.is_math(node):
            assert isinstance(node.func, ast.Attribute)
            name = ast.copy_location(ast.Constant(node.func.attr), node.func)
            function = ast.copy_location(made_expression(f"{RUNTIME}.math_"), node.func)
            return ast.copy_location(ast.Call(function, [name, *node.args], []), node)
        match node.func:
            case ast.Attribute(value=ast.Constant(value=str()) as text, attr="format"):
                node.func = ast.copy_location(made_expression(f"{RUNTIME}.template"), node.func)
                node.args.insert(0, text)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts: list[ast.expr] = []
        for part in node.values:
            value, conversion, spec = part, "", ast.Constant("")
            if isinstance(part, ast.FormattedValue):
                value, conversion = self.visit(part.value), "" if part.conversion < 0 else chr(part.conversion)
                spec = spec if part.format_spec is None else self.visit(part.format_spec)
            parts.append(ast.Tuple([value, ast.Constant(conversion), spec], ast.Load()))
        return located(ast.Call(made_expression(f"{RUNTIME}.joined"), parts, []), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod()):
                return located(ast.Call(made_expression(f"{RUNTIME}.percent"), [node.left, node.right], []), node)
        return node

    def is_math(self, node: ast.Call) -> bool:
        """Whether it is a call of a function in Python's `math`."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math")), keywords=[]):
                return "math" not in self.parameters
        return False

    def deferred(self, name: str, node: ast.expr, values: Sequence[ast.expr]) -> ast.Call:
        """A call of the runtime with each value as a function of no arguments."""
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        parts: list[ast.expr] = [ast.Lambda(nothing, value) for value in values]
        return located(ast.Call(made_expression(f"{RUNTIME}.{name}"), parts, []), node)


def _index_expression(index: ast.expr) -> ast.expr:
    """What stands in an index's brackets, as an expression that may stand anywhere."""
    if isinstance(index, ast.Tuple):
        return ast.copy_location(ast.Tuple([_index_expression(item) for item in index.elts], ast.Load()), index)
    if not isinstance(index, ast.Slice):
        return index
    call = made_expression(f"{RUNTIME}.slice_()")
    assert isinstance(call, ast.Call)
    call.args = [ast.Constant(None) if end is None else end for end in (index.lower, index.upper, index.step)]
    return located(call, index)
