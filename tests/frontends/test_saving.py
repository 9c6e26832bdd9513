"""Files of tensors: what goes in comes out, and what is no such file is refused without harm."""

from __future__ import annotations

import copy
import io
import math
import pickle
import random
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjit
from adjit.ir.errors import ModelFormatError

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
DTYPES += ["uint16", "uint32", "uint64"]


def through(obj: Any) -> Any:
    """The object after saving and loading."""
    buffer = io.BytesIO()
    adjit.save(obj, buffer)
    buffer.seek(0)
    return adjit.load(buffer)


def same(a: Any, b: Any) -> bool:
    """Whether two objects have the same types and values, NaN being itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, adjit.Tensor):
        bits = [np.asarray(t._array).tobytes() for t in (a, b)]
        return (a.dtype, a.shape, a.requires_grad, bits[0]) == (b.dtype, b.shape, b.requires_grad, bits[1])
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return same(list(a), list(b)) and all(same(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    return bool(a == b)


keys = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.tuples(st.integers(), st.text()))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers(allow_nan=False),
    st.sampled_from(DTYPES).map(lambda name: adjit.zeros(2, 3, dtype=getattr(adjit, name))),
    st.sampled_from([np.arange(3), np.float64(0.1), np.int8(-3), adjit.float32, adjit.Size([2, 3])]),
    st.frozensets(st.integers(), max_size=3),
)  # fmt: skip
objects = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(objects)
def test_any_object_comes_back(obj: Any) -> None:
    assert same(through(obj), obj)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3)])
def test_tensors_of_every_dtype(dtype: str, shape: tuple[int, ...]) -> None:
    value = (adjit.arange(math.prod(shape)).reshape(shape) * 3 - 4).to(getattr(adjit, dtype))
    found = through({"a": value, "t": value.T if len(shape) == 2 else value})
    assert same(found["a"], value) and found["t"].shape == (value.T if len(shape) == 2 else value).shape


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = adjit.nn.Sequential(adjit.nn.Linear(3, 4), adjit.nn.BatchNorm1d(4))
    path = tmp_path / "model.safetensors"
    adjit.save(model.state_dict(), path)
    others = load_file(path)
    assert list(others) and set(others) == set(model.state_dict())
    found = adjit.load(str(path), map_location="cpu", weights_only=True)
    assert type(found) is OrderedDict and list(found) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert np.array_equal(others[name], value.numpy()) and same(found[name], value)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    def new() -> tuple[Any, Any, Any]:
        adjit.manual_seed(3)
        model = adjit.nn.Linear(3, 2)
        optimizer = adjit.optim.Adam(model.parameters(), lr=0.1, amsgrad=True)
        return model, optimizer, adjit.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])

    def advance(model: Any, optimizer: Any, scheduler: Any) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            (model(adjit.ones(4, 3)) ** 2).sum().backward()
            optimizer.step()
            scheduler.step()

    first = new()
    advance(*first)
    adjit.save({"parts": [part.state_dict() for part in first], "epoch": 3}, tmp_path / "checkpoint")
    advance(*first)
    second = new()
    found = adjit.load(tmp_path / "checkpoint")
    for part, state in zip(second, found["parts"], strict=True):
        part.load_state_dict(state)
    advance(*second)
    assert found["epoch"] == 3 and type(found["parts"][2]["milestones"]) is Counter
    for mine, theirs in zip(second[0].parameters(), first[0].parameters(), strict=True):
        assert same(mine.detach(), theirs.detach())
    assert second[1].state_dict()["param_groups"] == first[1].state_dict()["param_groups"]


def test_what_shares_memory_shares_it_again() -> None:
    weight = adjit.nn.Parameter(adjit.ones(2, 2))
    found = through([weight, weight, weight.detach()])
    assert found[0] is found[1] and type(found[0]) is adjit.nn.Parameter
    with adjit.no_grad():
        found[0].fill_(5)
    assert found[2].tolist() == [[5, 5], [5, 5]]


def test_several_objects_in_one_stream() -> None:
    buffer = io.BytesIO()
    adjit.save([1], buffer)
    adjit.save({"x": adjit.ones(3)}, buffer)
    buffer.seek(0)
    assert adjit.load(buffer) == [1] and adjit.load(buffer)["x"].tolist() == [1, 1, 1]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    adjit.save([1], path)
    with pytest.raises(TypeError, match=r"Linear, which a file of tensors cannot hold\n  hint: save its state"):
        adjit.save({"model": adjit.nn.Linear(1, 1)}, path)
    assert adjit.load(path) == [1] and [item.name for item in tmp_path.iterdir()] == ["a"]
    with pytest.raises(RuntimeError, match=r"Parent directory .* does not exist"):
        adjit.save([1], tmp_path / "missing" / "a")


def test_objects_without_a_place() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for obj, error, message in (
        (loop, ValueError, "contains itself"),
        ({"f": print}, TypeError, "'f'"),
        (np.array(["a"]), TypeError, "dtype"),
    ):
        with pytest.raises(error, match=message):
            adjit.save(obj, io.BytesIO())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1, 2]), "a pickle"),
        (b"PK\x03\x04" + bytes(30), "torch.save"),
        (b"", "no safetensors file"),
        (b"\xff" * 40, "no safetensors file"),
        (b"func @f() -> () {\n}\n", "load_program"),
        ((2).to_bytes(8, "little") + b"[]", "header"),
        ((4).to_bytes(8, "little") + b"{1:2", "header"),
    ],
)
def test_foreign_files(content: bytes, words: str) -> None:
    with pytest.raises(ModelFormatError, match=words):
        adjit.load(io.BytesIO(content))


def test_mutated_files_never_harm() -> None:
    """Random damage gives ModelFormatError, or leaves the file's meaning as it was."""
    obj = {"w": adjit.arange(6.0).reshape(2, 3), "n": [1, 2.5, None, {"a": (3, adjit.ones(2))}], 7: float("nan")}
    buffer = io.BytesIO()
    adjit.save(obj, buffer)
    whole = buffer.getvalue()
    rng = random.Random(0)
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            kind, place = rng.randrange(4), rng.randrange(len(data))
            if kind == 0:
                data[place] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[place] = rng.randrange(256)
            elif kind == 2:
                del data[place : place + rng.randrange(1, 9)]
            else:
                data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            if not data:
                break
        try:
            adjit.load(io.BytesIO(bytes(data)))
        except ModelFormatError:
            refused += 1
    assert refused > 1000


def test_deep_structures_are_refused() -> None:
    text = ("[" * 200_000).encode()
    header = b'{"__metadata__":{"adjit.structure":"' + text + b'"}}'
    with pytest.raises(ModelFormatError):
        adjit.load(io.BytesIO(len(header).to_bytes(8, "little") + header))


@pytest.mark.parametrize("change", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_and_pickles(change: Any) -> None:
    model = adjit.nn.Sequential(adjit.nn.Linear(2, 3), adjit.nn.BatchNorm1d(3))
    generator = adjit.Generator().manual_seed(5)
    generator_copy = change(generator) if change is not copy.deepcopy else None
    for value in (adjit.ones(2, 3).requires_grad_(), adjit.nn.Parameter(adjit.ones(2)), adjit.Size([2, 3])):
        assert same(change(value), value)
    assert change(adjit.float32) is adjit.float32
    assert all(same(a, b) for a, b in zip(change(model).parameters(), model.parameters(), strict=True))
    if generator_copy is not None:
        assert same(adjit.rand(3, generator=generator_copy), adjit.rand(3, generator=generator))


PICKLED = [
    "add", "absolute", "tanh", "sigmoid", "softmax", "stack", "cat", "zeros", "randn", "sum", "matmul",
    "cholesky_solve", "linalg.inv", "linalg.norm", "fft.rfft", "special.erf", "special.psi", "special.i1e",
    "nn.functional.gelu", "nn.functional.relu", "autograd.grad", "relu_", "Tensor.tanh", "Tensor.add_", "Tensor.sum",
]  # fmt: skip


@pytest.mark.parametrize("native", [False, True])
def test_functions_are_pickled_by_the_names_that_modules_have_for_them(native: bool) -> None:
    program = f"""if True:
        import pickle, adjit, adjit.native.install
        from functools import reduce
        held = [(reduce(getattr, path.split("."), adjit), path) for path in {PICKLED[:-5]}]
        if {native}:
            adjit.native.install.install()
        for function, path in held:
            assert pickle.loads(pickle.dumps(function)) is function, path
        for path in {PICKLED}:
            function = reduce(getattr, path.split("."), adjit)
            for protocol in range(2, 6):
                assert pickle.loads(pickle.dumps(function, protocol)) is function, path
        model = adjit.nn.TransformerEncoderLayer(4, 2)
        model.extra = adjit.tanh
        assert pickle.loads(pickle.dumps(model)).extra is adjit.tanh
        print(pickle.dumps([held, model]).hex())
    """
    ran = subprocess.run([sys.executable, "-c", program], check=True, timeout=100, stdout=subprocess.PIPE)
    held, model = pickle.loads(bytes.fromhex(ran.stdout.decode()))
    assert all(callable(function) for function, _ in held)
    assert adjit.equal(held[2][0](adjit.ones(2)), adjit.tanh(adjit.ones(2)))
    assert model(adjit.ones(1, 2, 4)).shape == (1, 2, 4)
