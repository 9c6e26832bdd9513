"""Small functions with choices and expressions that depend on data."""

# ruff: noqa: SIM108 - the statements are what is tested

from __future__ import annotations

import adjit as torch


def star_assign(x):
    a, *r = (x[0], x[1], x[2])
    while a < 20:
        a, *r = (a + r[0], r[1], r[0] + 1)
    return a + r[0] * r[1]


def ternary_chain(x):
    return x * 2 if x.sum() > 10 else x * 3 if x.sum() > 0 else x * 4


def elif_chain(x):
    if x[0] > 10:
        r = x * 1
    elif x[0] > 5:
        r = x * 2
    elif x[0] > 0:
        r = x * 3
    else:
        r = x * 4
    return r


def chained_cmp(x):
    return x * 2 if -3 < x.sum() < 3 else x


def chained_cmp_call(x):
    return x * 2 if -3 < x.sum() + 1 < 3 else x


def notin(x):
    return x * 2 if int(x[0]) not in (1, 2) else x


def in_(x):
    return x * 2 if int(x[0]) in (1, 2) else x


def while_else_break(x):
    n = 0
    t = x
    while t.norm() > 1:
        t = t / 2
        n += 1
        if n > 5:
            break
    else:
        t = t + 100
    return t * n


def while_not(x):
    done = False
    t = x
    while not done:
        t = t * 1.1
        done = t.abs().max() > 10
    return t


def pass_only(x):
    if x[0] > 0:
        pass
    else:
        x = x * 2
    return x


def global_flag(x):
    found = False
    for v in x:
        if v < 0:
            found = True
    return x * 2 if found else x


def counting(x):
    c = 0
    for v in x:
        if v > 0:
            c += 1
    return x * c


def maxloop(x):
    m = x[0]
    for v in x[1:]:
        if v > m:
            m = v
    return m


def argmaxloop(x):
    m = x[0]
    k = 0
    for i, v in enumerate(x):
        if v > m:
            m = v
            k = i
    return x[k] * k


def recursion(x):

    def fact(n):
        return 1 if n <= 1 else n * fact(n - 1)
    return x * fact(3)


def recursion_data(x):

    def f(v, d):
        if d == 0 or v.sum() > 50:
            return v
        return f(v * 2, d - 1)
    return f(x, 4)


def nested_fn_nonlocal(x):
    c = 0

    def g(v):
        nonlocal c
        if v > 0:
            c = c + 1
        return v
    for v in x:
        g(v)
    return x * c


def assert_(x):
    assert x[1] > -1000, 'small'
    return x * 2


def del_(x):
    if x[0] > 0:
        y = x * 2
    else:
        y = x * 3
    z = y + 1
    del y
    return z


def isnan_loop(x):
    t = x
    for _ in range(3):
        if torch.isnan(t).any():
            break
        t = t * 2
    return t


def return_tuple(x):
    if x[0] > 0:
        return (x, x * 2)
    return (x * 2, x)


def dictcomp(x):
    d = {i: v if v > 0 else -v for i, v in enumerate(x)}
    return sum(d.values())


def minmax(x):
    return max(x[0], x[1]) * min(x[2], x[3])


PROGRAMS = [
    star_assign, ternary_chain, elif_chain, chained_cmp, chained_cmp_call, notin, in_, while_else_break, while_not,
    pass_only, global_flag, counting, maxloop, argmaxloop, recursion, recursion_data, nested_fn_nonlocal, assert_,
    del_, isnan_loop, return_tuple, dictcomp, minmax,
]  # fmt: skip
