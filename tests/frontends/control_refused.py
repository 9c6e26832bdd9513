"""Small functions whose control flow a program cannot have."""

# ruff: noqa: E731 - the statements are what is tested

from __future__ import annotations

import adjit as torch


def else_for(x):
    for i in range(4):
        if x[i] > 10:
            r = x[i]
            break
    else:
        r = x.sum()
    return r


def match_(x):
    match (x.sum() > 0).item():
        case True:
            return x * 2
        case False:
            return x * 3


def try_except(x):
    try:
        if x[0] > 100:
            raise ValueError('big')
        r = x * 2
    except ValueError:
        r = x
    return r


def comp_filter(x):
    return sum([v for v in x if v > 0])


def generator(x):

    def g():
        for v in x:
            if v > 0:
                yield v
            else:
                yield (v * 0)
    return sum(g())


def generator_skip(x):

    def g():
        for v in x:
            if v > 0:
                yield v
    return sum(g())


def reversed_traced(x):
    t = x[0] * 0
    for i in reversed(range(int(x[3]))):
        t = t * 2 + x[i]
    return t


def range_step_traced(x):
    t = x[0] * 0
    for i in range(0, 4, int(x[0])):
        t = t * 2 + x[i]
    return t


def enumerate_range(x):
    t = x[0] * 0
    for k, i in enumerate(range(int(x[3]))):
        t = t * 2 + x[i] * k
    return t


def walrus_and(x):
    if x[0] > 0 and (s := x.sum()) > 0:
        return x * s
    return x


def walrus_comp(x):
    return sum([y if (y := (v * 2)) > 0 else v for v in x])


def lam(x):
    f = lambda v: v * 2 if v.sum() > 0 else -v
    return f(x)


def return_none(x):
    if x[0] > 1000:
        return None
    return x


def map_(x):
    return sum(map(lambda v: v if v > 0 else -v, x))


def filter_(x):
    return sum(filter(lambda v: v > 0, x))


def sorted_(x):
    return torch.stack(sorted(x, key=lambda v: v))


def bincount(x):
    return torch.bincount(x.abs().long()) * 1.0


def list_append(x):
    r = []
    for i in range(4):
        if x[i] > 0:
            r.append(x[i])
        else:
            r.append(-x[i])
    return torch.stack(r)


def list_append_if(x):
    r = []
    for i in range(4):
        if x[i] > 0:
            r.append(x[i])
    return sum(r)


PROGRAMS = [
    else_for, match_, try_except, comp_filter, generator, generator_skip, reversed_traced, range_step_traced,
    enumerate_range, walrus_and, walrus_comp, lam, return_none, map_, filter_, sorted_, bincount, list_append,
    list_append_if,
]  # fmt: skip
