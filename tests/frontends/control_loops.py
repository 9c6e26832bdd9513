"""Small functions with loops, jumps and blocks that depend on data."""

# ruff: noqa: SIM108, B905 - the statements are what is tested

from __future__ import annotations

import adjit as torch


def continue_(x):
    t = 0.0
    for i in range(4):
        if x[i] < 0:
            continue
        t = t + x[i]
    return t


def break_(x):
    t = 0.0
    for i in range(4):
        if x[i] < 0:
            break
        t = t + x[i]
    return t


def break_while(x):
    t = x[0]
    while True:
        t = t * 1.5 + 1
        if t > x[3]:
            break
    return t


def else_while(x):
    i = 0
    while x[0] + i < 3:
        if x[0] + i > 2.5:
            break
        i = i + 1
    else:
        return x * i
    return x - i


def early(x):
    for i in range(4):
        if x[i] < 0:
            return x * i
    return x


def early_while(x):
    t = x
    while t.sum() < 100:
        t = t * 2
        if t[0] > 3:
            return t + 1
    return t - 1


def nested(x):
    t = 0.0
    for i in range(3):
        for j in range(4):
            if x[j] < i:
                continue
            if x[j] > 3:
                break
            t = t + x[j] * i
    return t


def nested_return(x):
    for i in range(3):
        for j in range(4):
            if x[j] * i < -3:
                return x * (i + 1) + j
    return x


def nested_while(x):
    i = 0
    t = x[0] * 0
    while i < x[1]:
        j = 0
        while j < x[3]:
            j += 1
            if j == 2:
                continue
            t = t + x[0] * j
        i += 1
    return t


def match_or_default(x):
    match (x.sum() > 0).item():
        case True:
            return x * 2
        case _:
            return x * 3


def identity(x):
    return x * 2 if x.any().item() is not False else x


def match_int(x):
    match int(x[1]):
        case 1:
            return x
        case 2:
            return x * 2
        case _:
            return x * 3


def match_guard(x):
    match len(x.shape):
        case n if x.sum() > 0:
            return x * n
        case _:
            return -x


def try_finally(x):
    t = x
    try:
        if x.sum() > 0:
            t = x * 2
        else:
            t = x * 3
    finally:
        t = t + 1
    return t


def try_finally_return(x):
    try:
        if x.sum() > 0:
            return x * 2
        return x * 3
    finally:
        pass


def try_break(x):
    t = x[0]
    for i in range(4):
        try:
            if x[i] < 0:
                break
            t = t + x[i]
        finally:
            t = t * 2
    return t


def with_continue(x):
    t = x[0]
    for i in range(4):
        with torch.no_grad():
            if x[i] < 0:
                continue
        t = t + x[i]
    return t


def with_return(x):
    with torch.no_grad():
        if x.sum() > 0:
            return x * 2
    return x * 3


def comprehension(x):
    return sum([v * 2 if v > 0 else v for v in x])


def genexp(x):
    return sum(v * 2 if v > 0 else -v for v in x)


def any_(x):
    return x * 2 if any(v < 0 for v in x) else x


def all_(x):
    return x * 2 if all(v < 0 for v in x) else x


def enum(x):
    t = 0.0
    for i, v in enumerate(x):
        if v > 0:
            t = t + v * i
    return t


def enum_continue(x):
    t = 0.0
    for i, v in enumerate(x):
        if v <= 0:
            continue
        t = t + v * i
    return t


def zip_break(x):
    t = 0.0
    for a, b in zip(x, x * 2):
        if a < 0:
            break
        t = t + a * b
    return t


def reversed_(x):
    t = 0.0
    for i in reversed(range(4)):
        if x[i] < 0:
            break
        t = t + x[i] * i
    return t


def range_step(x):
    t = x[0] * 0
    for i in range(0, int(x[3]), 2):
        t = t * 2 + x[i]
    return t


def range_down(x):
    t = x[0] * 0
    for i in range(int(x[3]) - 1, -1, -1):
        t = t * 2 + x[i]
    return t


def walrus_if(x):
    if (s := x.sum()) > 0:
        return x * s
    return x - s


def walrus_while(x):
    t = x
    while (s := t.sum()) < 50:
        t = t * 2 + abs(s) * 0.1 + 1
    return t * s


def aug_tuple(x):
    s = [x[0] * 1, x[1] * 1]
    for i in range(int(x[3])):
        s[0] += x[i]
        s[1] *= 2.0
    return s[0] * s[1]


def aug_dict(x):
    d = {'a': x[0] * 1}
    i = 0
    while d['a'] < 20:
        d['a'] += x[1]
        i += 1
    return d['a'] * i


def aug_attr(x):

    class B:
        pass
    b = B()
    b.v = x[0] * 1
    while b.v < 20:
        b.v += x[1]
    return b.v


def tuple_assign(x):
    a, b = (x[0], x[1])
    while b < 20:
        a, b = (b, a + b)
    return a * b


PROGRAMS = [
    continue_, break_, break_while, else_while, early, early_while, nested, nested_return, nested_while,
    match_or_default, identity, match_int, match_guard, try_finally, try_finally_return, try_break, with_continue,
    with_return, comprehension, genexp, any_, all_, enum, enum_continue, zip_break, reversed_, range_step,
    range_down, walrus_if, walrus_while, aug_tuple, aug_dict, aug_attr, tuple_assign,
]  # fmt: skip
