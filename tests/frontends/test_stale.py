"""A compiled function notices when what it read in Python has changed: functions, classes, objects, data, settings."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

import adjit as torch

# What there is before, what is compiled, and what changes then.
METHODS = "class B:\n    def m(self, x): return x * 2\nclass A(B): pass\na = A()"
PROPERTY = "class A:\n    @property\n    def k(self): return 2.0\na = A()"
NUMBERS = "class B: k = 2.0\nclass A(B): pass\na = A()"
DYNAMIC = "class A:\n    def __getattr__(self, name): return 2.0\na = A()"
INNER = "def g(x, k=2.0, *, j=1.0): return x * k * j\ng.k = 2.0\ndef h(x, k=5.0, *, j=1.0): return x * 3"
MODULE = "class M(nn.Module):\n    k = 2.0\n    def forward(self, x): return self.g(x)\n" \
    "    def g(self, x): return x * 2\n    @property\n    def p(self): return 2.0\nm = M()"
LINEAR = "m = nn.Linear(3, 3)"
GRADIENT = "m = nn.Linear(3, 3)\ndef f(x):\n    m.weight.grad = None\n    m(x).sum().backward()\n" \
    "    return m.weight.grad\n"
STEP = "p = nn.Parameter(torch.ones(3))\no = torch.optim.SGD([p], lr=0.1)\ndef f(x):\n    p.data.fill_(1.0)\n" \
    "    o.zero_grad()\n    (p * x).sum().backward()\n    o.step()\n    return p.detach().clone()"
FUNCTION = "class S(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * 2\n" \
    "    @staticmethod\n    def backward(ctx, g): return g * 2\n" \
    "def f(x): return torch.autograd.grad(S.apply(y := x.detach().requires_grad_()).sum(), y)[0]"
LISTS = "class A: pass\na = A()\na.k = [2.0]\n"
CASES: dict[str, tuple[str, str, str]] = {
    # Functions
    "a global function": (INNER, "g(x)", "g = h"),
    "defaults": (INNER, "g(x)", "g.__defaults__ = (3.0,)"),
    "defaults by name": (INNER, "g(x)", "g.__kwdefaults__ = {'j': 3.0}"),
    "a default by name": (INNER, "g(x)", "g.__kwdefaults__['j'] = 3.0"),
    "a list as a default": ("def g(x, k=[2.0]): return x * k[0]", "g(x)", "g.__defaults__[0][0] = 3.0"),
    "code": (INNER, "g(x)", "g.__code__ = h.__code__"),
    "an attribute": (INNER, "x * g.k", "g.k = 3.0"),
    "a closure": ("def made():\n    k = [2.0]\n    def g(x): return x * k[0]\n    def change(): k[:] = [3.0]\n"
                  "    return g, change\ng, change = made()", "g(x)", "change()"),
    "a cell": ("def made():\n    k = 2.0\n    def g(x): return x * k\n    def change():\n        nonlocal k\n"
               "        k = 3.0\n    return g, change\ng, change = made()", "g(x)", "change()"),
    "a global": ("k = 2.0", "x * k", "k = 3.0"),
    "a global by its name": ("k = 2.0", "x * globals()['k']", "k = 3.0"),
    "a wrapped function": ("k = [2.0]\n@functools.cache\ndef g(): return k[0]", "x * g()",
                           "k[0] = 3.0\ng.cache_clear()"),
    "a registered function": ("@functools.singledispatch\ndef g(x): return x * 2", "g(x)",
                              "g.register(torch.Tensor, lambda x: x * 3)"),
    "keywords of a partial": ("p = functools.partial(lambda x, k: x * k, k=2.0)", "p(x)", "p.keywords['k'] = 3.0"),
    "an import inside": ("def g(x):\n    import mine_too\n    return x * mine_too.k", "g(x)", "mine_too.k = 3.0"),
    "from an import inside": ("def g(x):\n    from mine_too import k\n    return x * k", "g(x)", "mine_too.k = 3.0"),
    "a module": ("", "x * mine_too.k", "mine_too.k = 3.0"),
    "a function of a module": ("", "mine_too.f(x)", "mine_too.f = lambda x: x * 3"),
    "a function in a dict": ("d = {'f': lambda x: x * 2}", "d['f'](x)", "d['f'] = lambda x: x * 3"),
    "the environment": ("os.environ['ADJIT_STALE'] = '2'", "x * float(os.environ['ADJIT_STALE'])",
                        "os.environ['ADJIT_STALE'] = '3'"),
    # Classes
    "a method": (METHODS, "B().m(x)", "B.m = lambda self, x: x * 3"),
    "a method of a base": (METHODS, "a.m(x)", "B.m = lambda self, x: x * 3"),
    "a method that hides another": (METHODS, "a.m(x)", "A.m = lambda self, x: x * 3"),
    "a method of an instance": (METHODS, "a.m(x)", "a.m = lambda x: x * 3"),
    "the code of a method": (METHODS, "a.m(x)", "B.m.__code__ = (lambda self, x: x * 3).__code__"),
    "a bound method": (METHODS + "\nm = a.m", "m(x)", "A.n = 1\nm = lambda x: x * 3"),
    "a method of super": (METHODS + "\nclass C(A):\n    def m(self, x): return super().m(x)\nc = C()", "c.m(x)",
                          "B.m = lambda self, x: x * 3"),
    "bases": (METHODS + "\nclass D(B):\n    def m(self, x): return x * 3", "a.m(x)", "A.__bases__ = (D,)"),
    "the class": (METHODS + "\nclass D(A):\n    def m(self, x): return x * 3", "a.m(x)", "a.__class__ = D"),
    "a property": (PROPERTY, "x * a.k", "A.k = property(lambda self: 3.0)"),
    "what a property reads": ("s = {'k': 2.0}\nclass A:\n    @property\n    def k(self): return s['k']\na = A()",
                              "x * a.k", "s['k'] = 3.0"),
    "a static method": ("class A:\n    @staticmethod\n    def m(x): return x * 2", "A.m(x)",
                        "A.m = staticmethod(lambda x: x * 3)"),
    "a class method": ("class A:\n    @classmethod\n    def m(cls, x): return x * 2", "A.m(x)",
                       "A.m = classmethod(lambda cls, x: x * 3)"),
    "a partial method": ("class A:\n    def m(self, k, x): return x * k\n    two = functools.partialmethod(m, 2.0)\n"
                         "a = A()", "a.two(x)", "A.two = functools.partialmethod(A.m, 3.0)"),
    "a descriptor": ("class D:\n    def __get__(self, item, cls): return 2.0\nclass A: k = D()\na = A()", "x * a.k",
                     "D.__get__ = lambda self, item, cls: 3.0"),
    "an attribute of a class": (NUMBERS, "x * B.k", "B.k = 3.0"),
    "an attribute of a base": (NUMBERS, "x * a.k", "B.k = 3.0"),
    "an attribute that hides another": (NUMBERS, "x * A.k", "A.k = 3.0"),
    "an attribute of an instance": (NUMBERS, "x * a.k", "a.k = 3.0"),
    "__getattr__": (DYNAMIC, "x * a.k", "A.__getattr__ = lambda self, name: 3.0"),
    "an attribute instead of __getattr__": (DYNAMIC, "x * a.k", "a.k = 3.0"),
    "an attribute of the class instead": (DYNAMIC, "x * a.k", "A.k = 3.0"),
    "__call__": ("class A:\n    def __call__(self, x): return x * 2\na = A()", "a(x)",
                 "A.__call__ = lambda self, x: x * 3"),
    "an operator": ("class A:\n    def __rmul__(self, x): return x + x\na = A()", "x * a",
                    "A.__rmul__ = lambda self, x: x + x + x"),
    "__init__": ("class A:\n    def __init__(self): self.k = 2.0", "x * A().k",
                 "A.__init__ = lambda self: setattr(self, 'k', 3.0)"),
    "__len__": ("class A:\n    def __len__(self): return 2\na = A()", "x * len(a)", "A.__len__ = lambda self: 3"),
    "__iter__": ("class A:\n    def __iter__(self): return iter([2.0])\na = A()", "x * sum(a)",
                 "A.__iter__ = lambda self: iter([3.0])"),
    "__enter__": ("class A:\n    def __enter__(self): return 2.0\n    def __exit__(self, *_): pass\ndef g(x):\n"
                  "    with A() as k: return x * k", "g(x)", "A.__enter__ = lambda self: 3.0"),
    "hasattr": (NUMBERS, "x * (3.0 if hasattr(a, 'j') else 2.0)", "a.j = 1"),
    "hasattr of a class": (NUMBERS, "x * (3.0 if hasattr(a, 'j') else 2.0)", "B.j = 1"),
    "getattr with a default": (NUMBERS, "x * getattr(a, 'j', 2.0)", "a.j = 3.0"),
    "forward of a Function": (FUNCTION, "S.apply(x)", "S.forward = staticmethod(lambda ctx, x: x * 3)"),
    "backward of a Function": (FUNCTION, "f(x)", "S.backward = staticmethod(lambda ctx, g: g * 3)"),
    # Objects and data
    "slots": ("class A: __slots__ = ('k',)\na = A()\na.k = 2.0", "x * a.k", "a.k = 3.0"),
    "the namespace": (NUMBERS + "\na.j = 2.0", "x * a.j", "a.__dict__ = {'j': 3.0}"),
    "a dataclass": ("@dataclasses.dataclass\nclass A: k: float = 2.0\na = A()", "x * a.k", "a.k = 3.0"),
    "a member of an enum": ("class E(enum.Enum): A = 2.0; B = 3.0\ns = {'e': E.A}", "x * s['e'].value", "s['e'] = E.B"),
    "an item": ("d = {'k': {'j': [2.0]}}", "x * d['k']['j'][0]", "d['k']['j'][0] = 3.0"),
    "a new key": ("d = {}", "x * d.get('k', 2.0)", "d['k'] = 3.0"),
    "the order of a dict": ("d = {'a': 2.0, 'b': 3.0}", "x * next(iter(d.values()))", "d['a'] = d.pop('a')"),
    "an ordered dict": ("d = collections.OrderedDict(a=2.0, b=3.0)", "x * next(iter(d.values()))",
                        "d.move_to_end('a')"),
    "keys that are numbers": ("d = {1: 2.0}", "x * d[1]", "d[1] = 3.0"),
    "a longer list": ("d = [2.0]", "x * sum(d)", "d.append(1.0)"),
    "a list in a tuple": ("d = ([2.0],)", "x * d[0][0]", "d[0][0] = 3.0"),
    "a set": ("d = {1}", "x * (3.0 if 2 in d else 2.0)", "d.add(2)"),
    "a deque": ("d = collections.deque([2.0])", "x * d[0]", "d[0] = 3.0"),
    "a chain of maps": ("d = collections.ChainMap({}, {'k': 2.0})", "x * d['k']", "d['k'] = 3.0"),
    "a user's dict": ("d = collections.UserDict(k=2.0)", "x * d['k']", "d['k'] = 3.0"),
    "a user's own list": ("class L(collections.UserList): pass\nd = L([2.0])", "x * d[0]", "d[0] = 3.0"),
    "a user's own chain": ("class C(collections.ChainMap): pass\nd = C({}, {'k': 2.0})", "x * d['k']",
                           "d.maps[0]['k'] = 3.0"),
    "a list by another name": (LISTS + "g = getattr\nd = ['k']", "x * g(a, d[0])[0]", "a.k[0] = 3.0"),
    "a list by a getter": (LISTS + "g = operator.attrgetter('k')", "x * g(a)[0]", "a.k[0] = 3.0"),
    "a list by a partial": (LISTS + "g = functools.partial(getattr, a, 'k')", "x * g()[0]", "a.k[0] = 3.0"),
    "lists that dataclasses compare": (
        "@dataclasses.dataclass\nclass A: k: list\na, b = A([2.0]), A([2.0])", "x * (2.0 if a == b else 3.0)",
        "a.k[0] = 3.0"),
    "a read-only dict": ("d = {'k': 2.0}\nr = types.MappingProxyType(d)", "x * r['k']", "d['k'] = 3.0"),
    "a reference": (NUMBERS + "\nr = weakref.ref(a)", "x * r().k", "a.k = 3.0"),
    "an attribute of a list": ("class L(list): pass\nd = L()\nd.k = 2.0", "x * d.k", "d.k = 3.0"),
    "an attribute of a number": ("class L(float): pass\nd = L()\nd.k = 2.0", "x * d.k", "d.k = 3.0"),
    "an attribute of a tensor": ("t = torch.ones(3)\nt.k = 2.0", "x * t.k", "t.k = 3.0"),
    "a number of an array": ("d = np.array([2.0])", "x * float(d[0])", "d[0] = 3.0"),
    "an array made a tensor": ("d = np.array([2.0, 2.0, 2.0])", "x * torch.tensor(d)", "d[0] = 3.0"),
    "an array as a tensor": ("d = np.array([2.0, 2.0, 2.0])", "x * torch.from_numpy(d)", "d[0] = 3.0"),
    "the shape of an array": ("d = np.array([1.0, 2.0, 3.0])", "x * torch.tensor(d)", "d.shape = (3, 1)"),
    "the dtype of an array": ("d = np.array([1, 2, 3])", "x.double() * torch.tensor(d)", "d.dtype = np.float64"),
    "an array without axes": ("d = np.array(-2)", "x * int(d)", "d[...] = 10**12"),
    "bytes": ("d = bytearray(b'\\2')", "x * d[0]", "d[0] = 3"),
    "the sign of a zero": ("d = [0.0]", "torch.copysign(x, torch.tensor(d[0]))", "d[0] = -0.0"),
    "the type of a number": ("d = [1]", "x * (2.0 if d[0] is True else 3.0)", "d[0] = True"),
    "a tensor in a list": ("d = [torch.ones(3)]", "x * d[0]", "d[0] = torch.ones(3) * 3"),
    "the shape of a tensor": ("t = torch.ones(3)", "x * t.sum()", "t.resize_(1)"),
    "the order of a tensor's axes": ("t = torch.arange(9.0).reshape(3, 3).clone()", "x @ t", "t.t_()"),
    "the data of a tensor": ("t = torch.ones(3)", "x * t", "t.data = torch.ones(3) * 3"),
    "a gradient": ("t = torch.ones(3, requires_grad=True)", "x * 2 if t.grad is None else x * t.grad",
                   "t.grad = torch.ones(3) * 3"),
    "requires_grad": ("t = torch.ones(3)", "x * (3.0 if (x * t).requires_grad else 2.0)", "t.requires_grad_()"),
    # Modules and training
    "a method of a module": (MODULE, "m(x)", "M.g = lambda self, x: x * 3"),
    "a method of one module": (MODULE, "m(x)", "m.g = lambda x: x * 3"),
    "a method instead of a list": (METHODS + "\na.log = []", "a.m(x)", "del a.log\na.m = lambda x: x * 3"),
    "a module's method instead of a list": (MODULE + "\nm.log = []", "m(x)", "del m.log\nm.g = lambda x: x * 3"),
    "the class of a module that inherits forward": (
        MODULE + "\nclass N(M):\n    def g(self, x): return x * 3", "m(x)", "m.__class__ = N"),
    "forward": (MODULE, "m(x)", "M.forward = lambda self, x: x * 3"),
    "forward of one module": (MODULE, "m(x)", "m.forward = lambda x: x * 3"),
    "forward of a layer": ("m = nn.ReLU()", "m(x)", "m.forward = lambda x: x * 3"),
    "__call__ of a module": (MODULE, "m(x)", "M.__call__ = lambda self, x: x * 3"),
    "a property of a module": (MODULE, "x * m.p", "M.p = property(lambda self: 3.0)"),
    "an attribute of a module's class": (MODULE, "x * m.k", "M.k = 3.0"),
    "the class of a module": (MODULE + "\nclass N(M):\n    def forward(self, x): return x * 3", "m(x)",
                              "m.__class__ = N"),
    "a layer": ("m = nn.Sequential(nn.ReLU())", "m(x - 2)", "m[0] = nn.Tanh()"),
    "a further layer": ("m = nn.Sequential(nn.ReLU())", "m(x)", "m.append(nn.Tanh())"),
    "the order of layers": ("m = nn.ModuleDict({'a': nn.ReLU(), 'b': nn.Tanh()})", "list(m.values())[0](x)",
                            "m['a'] = m.pop('a')"),
    "a parameter": (LINEAR, "m(x)", "m.weight = nn.Parameter(torch.zeros(3, 3))"),
    "no bias": (LINEAR, "m(x)", "m.bias = None"),
    "a buffer": ("m = nn.BatchNorm1d(3).eval()", "m(x[None])", "m.running_mean = torch.ones(3)"),
    "training": ("m = nn.Sequential(nn.Sequential(nn.Dropout(1.0)))", "m(x)", "m[0][0].training = False"),
    "a layer's number": ("m = nn.LeakyReLU(0.1)", "m(-x)", "m.negative_slope = 0.5"),
    "another dtype": (LINEAR, "m(x.to(m.weight.dtype))", "m.double()"),
    "a forward hook": ("m = nn.ReLU()", "m(x)", "m.register_forward_hook(lambda m, i, o: o * 3)"),
    "a hook before": ("m = nn.Sequential(nn.ReLU())", "m(x)",
                      "m[0].register_forward_pre_hook(lambda m, i: (i[0] * 3,))"),
    "no hook": ("m = nn.ReLU()\nh = m.register_forward_hook(lambda m, i, o: o * 3)", "m(x)", "h.remove()"),
    "a hook of all modules": ("m = nn.ReLU()", "m(x)", "h = nn.modules.module.register_module_forward_hook("
                              "lambda m, i, o: o * 3)"),
    "a hook on a gradient": (GRADIENT, "f(x)", "m.weight.register_hook(lambda g: g * 3)"),
    "no hook on a gradient": (GRADIENT + "h = m.weight.register_hook(lambda g: g * 3)", "f(x)", "h.remove()"),
    "what a hook reads": (GRADIENT + "k = [2.0]\nm.weight.register_hook(lambda g: g * k[0])", "f(x)", "k[0] = 3.0"),
    "a hook after a gradient": (GRADIENT, "f(x)",
                                "m.weight.register_post_accumulate_grad_hook(lambda p: [p.grad.mul_(3)].clear())"),
    "a frozen parameter": (GRADIENT, "torch.zeros(1) if f(x) is None else f(x)", "m.weight.requires_grad_(False)"),
    "a learning rate": (STEP, "f(x)", "o.param_groups[0]['lr'] = 0.5"),
    "an optimizer's switch": (STEP, "f(x)", "o.param_groups[0]['maximize'] = True"),
    "a parametrization": (LINEAR + "\nclass Three(nn.Module):\n    def forward(self, w): return w * 3", "m(x)",
                          "nn.utils.parametrize.register_parametrization(m, 'weight', Three())"),
    # Settings
    "the default dtype": ("", "x * torch.ones(3)", "torch.set_default_dtype(torch.float64)"),
    "a switch": ("", "x * (3.0 if torch.are_deterministic_algorithms_enabled() else 2.0)",
                 "torch.use_deterministic_algorithms(True)"),
    "grad mode": ("", "x * (3.0 if torch.is_grad_enabled() else 2.0)", "torch.set_grad_enabled(False)"),
}  # fmt: skip
PRELUDE = "import collections, dataclasses, enum, functools, operator, os, types, weakref\n" \
    "import numpy as np\nfrom adjit import nn"


@pytest.mark.parametrize("name", CASES)
def test_changes_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, call, change = CASES[name]
    mine, other = types.ModuleType("mine"), types.ModuleType("mine_too")
    vars(other).update(k=2.0, f=lambda x: x * 2)
    for module in (mine, other):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("ADJIT_STALE", "2")
    space = vars(mine)
    space.update(torch=torch, mine_too=other)
    exec(PRELUDE, space)
    exec(setup, space)
    function = eval(f"lambda x: {call}", space)
    compiled, x = torch.compile(function), torch.arange(1.0, 4.0)
    try:
        before = function(x)
        for _ in range(4):  # the last ones natively
            _compare(compiled(x), before)
        exec(change, space)
        after = function(x)
        for _ in range(4):
            _compare(compiled(x), after)
        assert not _equal(before, after), "nothing changed"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(False)
        if "all modules" in name:
            space["h"].remove()


def _compare(found: Any, wanted: Any) -> None:
    assert _equal(found, wanted), (found, wanted)


def _equal(found: Any, wanted: Any) -> bool:
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    one, other = np.array(found.detach().tolist()), np.array(wanted.detach().tolist())
    return np.allclose(one, other, atol=1e-5) and bool((np.signbit(one) == np.signbit(other)).all())


def test_a_class_that_changes_in_what_does_not_count_keeps_its_program() -> None:
    space: dict[str, Any] = {"__name__": "mine"}
    exec(METHODS, space)
    compiled = torch.compile(eval("lambda x: a.m(x)", space))
    for count in range(10):
        space["A"].calls = count
        space["a"].__dict__[f"seen{count}"] = count
        assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
    assert compiled.compile_count == 1
    space["B"].m = lambda self, x: x * 3
    assert compiled(torch.ones(2)).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("base", ["object", "nn.Module"])
def test_records_that_the_code_does_not_name_keep_the_program(base: str) -> None:
    space: dict[str, Any] = {"__name__": "mine", "nn": torch.nn}
    exec(f"class A({base}):\n    def forward(self, x): return x * 2\na = A()\na.seen, a.log = [], {{}}", space)
    compiled = torch.compile(eval("lambda x: a.forward(x)", space))
    for count in range(5):
        space["a"].seen.append(count)
        space["a"].log[f"loss{count}"] = count
        assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
    assert compiled.compile_count == 1


@pytest.mark.parametrize(("first", "second"), [
    (0.0, -0.0), (frozenset([0.0]), frozenset([-0.0])), (frozenset([1]), frozenset([True])),
    (complex(0.0, 0.0), complex(0.0, -0.0)), ((0.0,), (-0.0,)), ({"k": 0.0}, {"k": -0.0}),
])  # fmt: skip
def test_arguments_that_are_equal_and_differ(first: Any, second: Any) -> None:
    compiled = torch.compile(lambda x, k: (x + 1, repr(k)))
    for k in (first, first, first, second, first, second):
        assert compiled(torch.ones(2), k)[1] == repr(k)
