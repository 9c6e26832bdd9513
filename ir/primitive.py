"""The record of an op's facts, and the registry of all ops.

An op is defined once: a function that is its meaning on NumPy arrays, with its facts attached by decorators:

* `infers`      types of the results from types of the operands;
* exactly one derivative fact: `transposes` (linear, or linear in each operand), `vjps` (written), partial
  derivatives (scalar ops, derived from their body), or `constant` (the result does not vary);
* `batches`     the op on operands with one more leading axis;
* `indexes`     the result's element at an index, as an expression over the operands' elements.

A primitive is callable.  On NumPy arrays it computes its meaning; on `Expr` operands it emits a node; so a rule written
as ordinary code can be run, checked, and emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import CO_VARARGS, CO_VARKEYWORDS
from typing import Any, Protocol, TypeVar

from adjit.ir.graph import Attribute
from adjit.ir.literals import literal_key
from adjit.ir.types import TensorType

# How many results of inference an op remembers: long programs repeat few.
_MOST_INFERRED = 1 << 12

Rule = TypeVar("Rule", bound=Callable[..., Any])


class Emitter(Protocol):
    """What a primitive called on symbolic operands hands them to."""

    def apply(self, op: Primitive, operands: Sequence[object], attributes: dict[str, Attribute]) -> Any: ...


class Primitive:
    """One op: its name, family, reference meaning and facts.  See the module's text for the facts."""

    __slots__ = (
        "_inferred", "attributes", "batch_rule", "body", "constant_result", "exact", "family", "home", "index_rule",
        "infer_rule", "isolated", "multilinear", "name", "open_attributes", "operands", "optional", "partials_rule",
        "pinned", "reference", "singular", "summary", "symbolic", "transpose_rule", "variadic", "vjp_rule",
        "wide_numbers",
    )  # fmt: skip

    def __init__(
        self, name: str, family: str, reference: Callable[..., Any], *, exact: bool = True, isolated: bool = True
    ) -> None:
        self.name = name
        self.family = family
        self.reference = reference
        self.home = reference.__module__
        self.exact = exact  # NumPy's result and native code's are the same bits
        self.isolated = isolated  # regions see only their own inputs
        self.summary = (reference.__doc__ or "").strip()
        code = reference.__code__
        first = code.co_argcount
        self.operands: tuple[str, ...] = code.co_varnames[:first]
        keywords = code.co_varnames[first : first + code.co_kwonlyargcount]
        # A reference gets its regions by keyword too, as functions; they are no attribute.
        self.attributes: tuple[str, ...] = tuple(name for name in keywords if name != "regions")
        self.variadic = bool(code.co_flags & CO_VARARGS)  # takes any number of operands after `operands`
        self.optional = frozenset(reference.__kwdefaults__ or ())  # the attributes that may be left out
        self.open_attributes = bool(code.co_flags & CO_VARKEYWORDS)  # takes attributes of any name
        self.infer_rule: Callable[..., Any] | None = None
        self._inferred: dict[object, tuple[TensorType, ...]] = {}  # by operands' types and attributes
        self.transpose_rule: Callable[..., Any] | None = None
        self.multilinear = False
        self.vjp_rule: Callable[..., Any] | None = None
        self.partials_rule: Callable[..., Any] | None = None
        self.constant_result = False
        self.batch_rule: Callable[..., Any] | None = None
        self.index_rule: Callable[..., Any] | None = None
        # Scalar ops only: the named op's definition over other scalar ops, on anything those accept; the primitive's
        # meaning as `symbolic(sympy, *symbols)`; partial derivatives stated beside the op, as texts by operand;
        # whether a partial can be infinite or NaN at finite operands; and whether numbers beside 16 bits have 32.
        self.body: Callable[..., Any] | None = None
        self.symbolic: Callable[..., Any] | None = None
        self.pinned: dict[str, str] = {}
        self.singular = False
        self.wide_numbers = False

    def __repr__(self) -> str:
        return f"<Primitive {self.name}>"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return primitive_named, (self.name,)

    def __call__(self, *operands: Any, **attributes: Any) -> Any:
        for operand in operands:
            emitter: Emitter | None = getattr(operand, "emitter", None)
            if emitter is not None:
                return emitter.apply(self, operands, attributes)
        return self.reference(*operands, **attributes)

    def infer(self, types: Sequence[TensorType], attributes: dict[str, Attribute]) -> tuple[TensorType, ...]:
        """The types of the results; raises ShapeError, DTypeError or DimError when the operands do not fit."""
        assert self.infer_rule is not None, f"{self.name} has no inference rule"
        key: object = None
        if attributes and self.family != "control" and "regions" not in attributes:
            key = (*types, *[(name, literal_key(value)) for name, value in attributes.items()])
            try:
                if (known := self._inferred.get(key)) is not None:
                    return known
            except TypeError:  # an attribute that has no hash
                key = None
        result = self.infer_rule(*types, **attributes)
        found = (result,) if isinstance(result, TensorType) else tuple(result)
        if key is not None:
            if len(self._inferred) >= _MOST_INFERRED:
                self._inferred.clear()
            self._inferred[key] = found
        return found

    def infers(self, rule: Rule) -> Rule:
        """Attach `rule(*types, **attributes) -> TensorType | tuple`."""
        self.infer_rule = rule
        return rule

    def transposes(self, rule: Rule) -> Rule:
        """Attach the transpose of a linear op: `rule(g, *operands, **attributes) -> cotangent | tuple`.

        The rule may use its operands' types only, never their values.
        """
        self.transpose_rule = rule
        return rule

    def transposes_each(self, rule: Rule) -> Rule:
        """The same for an op that is linear in each operand with the others held fixed."""
        self.multilinear = True
        return self.transposes(rule)

    def vjps(self, rule: Rule) -> Rule:
        """Attach a written rule: `rule(g, out, *operands, **attributes) -> cotangent | None | tuple of them`.

        `g` and `out` are tuples for an op with several results.
        """
        self.vjp_rule = rule
        return rule

    def constant(self) -> None:
        """State that the result does not vary with any operand."""
        self.constant_result = True

    def batches(self, rule: Rule) -> Rule:
        """Attach `rule(batched, *operands, **attributes)`.

        `batched[i]` says whether operand i has an extra leading axis; every result has one.
        """
        self.batch_rule = rule
        return rule

    def indexes(self, rule: Rule) -> Rule:
        """Attach `rule(k, index, *operands, **attributes) -> scalar`: the result's element at `index`.

        `k` is a `Scalars` (see ir/index.py), `index` a tuple of sizes, and each operand is a function from its own
        index to its element, with its `type`.
        """
        self.index_rule = rule
        return rule


PRIMITIVES: dict[str, Primitive] = {}


def register(primitive: Primitive) -> Primitive:
    """Enter a primitive into the registry; its name must be new."""
    if primitive.name in PRIMITIVES:
        raise ValueError(f"a primitive named {primitive.name!r} exists already")
    PRIMITIVES[primitive.name] = primitive
    return primitive


def primitive(
    family: str, *, name: str | None = None, exact: bool = True, isolated: bool = True
) -> Callable[[Callable[..., Any]], Primitive]:
    """Define a primitive whose meaning on NumPy arrays is the decorated function.

    Keyword-only parameters of the function are the op's attributes.
    """

    def define(reference: Callable[..., Any]) -> Primitive:
        return register(Primitive(name or reference.__name__, family, reference, exact=exact, isolated=isolated))

    return define


# Ops that a program made of expressions while it ran: no file of this package tells of them.
USERS: set[str] = set()
# Ops that few programs use: these modules are imported when a name is asked for that is not there yet.
LATE = (
    "adjit.ir.ops.complex", "adjit.ir.ops.eigen", "adjit.ir.ops.fourier", "adjit.ir.ops.special",
    "adjit.ir.ops.special_bessel", "adjit.ir.ops.special_incomplete",
)  # fmt: skip


def primitive_named(name: str) -> Primitive:
    """The primitive called `name`; KeyError if there is none."""
    if name not in PRIMITIVES:
        for module in LATE:
            import_module(module)
            if name in PRIMITIVES:
                break
    return PRIMITIVES[name]


def source(like: Any, op: Primitive, **attributes: Any) -> Any:
    """Apply an op without operands (`iota`, `const`) the way `like` would: emit beside an `Expr`, else compute."""
    emitter: Emitter | None = getattr(like, "emitter", None)
    return op.reference(**attributes) if emitter is None else emitter.apply(op, (), attributes)
