"""Operands of unlike dtypes, and what is no tensor: PyTorch's errors, to the letter."""

from __future__ import annotations

import re

import pytest

import adjit as torch
from adjit.native import install

ONES = torch.ones(2, 2)
NAMES = {
    "torch": torch, "F": torch.nn.functional, "f": ONES, "d": ONES.double(), "f3": ONES.expand(2, 2, 2),
    "d3": ONES.double().expand(2, 2, 2), "a": torch.ones(2, 3), "b": torch.ones(3, 3),
}  # fmt: skip
ADDMM = "mat1 and mat2 must have the same dtype, but got Double and Float"
SCALAR_TYPE = "expected scalar type Double but found Float"
PARAMETER = "mixed dtype (CPU): expect parameter to have scalar type of Float"
MIXED = "mixed dtype (CPU): all inputs must share same datatype."
UNLIKE = {
    "torch.mm(d, f)": "expected m1 and m2 to have the same dtype, but got: double != float",
    "d[0] @ f": "expected m1 and m2 to have the same dtype, but got: double != float",
    "torch.bmm(d3, f3)": SCALAR_TYPE,
    "d3 @ f": SCALAR_TYPE,
    "torch.cdist(d, f)": SCALAR_TYPE,
    "torch.mv(d, f[0])": "addmv input tensors must have the same dtype, but got Float, Double, and Float",
    "torch.addmm(f, d, f)": ADDMM,
    "torch.addmm(d, f, f)": "self and mat2 must have the same dtype, but got Double and Float",
    "F.linear(d, f, f[0])": ADDMM,
    "torch.nn.Linear(2, 2)(d)": ADDMM,
    "torch.tensordot(d, f, 1)": "both inputs should have same dtype",
    "torch.lerp(d, f, 0.5)": "expected dtype double for `end` but got dtype float",
    "F.layer_norm(d, (2,), f[0])": MIXED,
    "F.batch_norm(d, f[0], f[0])": MIXED,
    "F.batch_norm(f, f[0], f[0], f[0], d[0])": "expected scalar type Float but found Double",
    "F.layer_norm(f, (2,), d[0])": PARAMETER,
    "F.group_norm(f, 2, None, d[0])": PARAMETER,
    "F.instance_norm(f3, None, None, d[0])": PARAMETER,
    "F.scaled_dot_product_attention(d3, f3, f3)": (
        "Expected query, key, and value to have the same dtype, but got query.dtype: double key.dtype: float and "
        "value.dtype: float instead."
    ),
}
UNFIT = {
    "torch.tensordot(a, b, dims=([0], [0]))": (
        "contracted dimensions need to match, but first has size 2 in dim 0 and second has size 3 in dim 0"
    ),
    "torch.tensordot(a, b, dims=([0], [0, 1]))": "both dimension lists should have same length",
    "torch.tensordot(a, b, dims=-1)": "tensordot expects dims >= 0, but got dims=-1",
    "torch.tensordot(a, b, dims=4)": "tensordot expects dims < ndim_a or ndim_b, but got dims=4",
    "torch.bincount(torch.tensor([-1]))": "bincount only supports 1-d non-negative integral inputs.",
    "torch.bincount(torch.tensor([1]), f[0])": "weights should be 1-d and have the same length as input",
    "torch.bincount(torch.tensor([1]), minlength=-1)": "minlength should be >= 0",
    "torch.trace(f3)": "trace: expected a matrix, but got tensor with dim 3",
}
NO_TENSOR = {
    "torch.tensordot(a, b, torch.tensor([1, 0]))": (
        "tensordot(): argument 'dims_self' (position 3) must be tuple of ints, not int"
    ),
    "torch.exp('a')": "exp(): argument 'input' (position 1) must be Tensor, not str",
    "torch.sigmoid(3)": "sigmoid(): argument 'input' (position 1) must be Tensor, not int",
    "torch.bitwise_not(3)": "bitwise_not(): argument 'input' (position 1) must be Tensor, not int",
    "torch.sqrt(2.0)": "sqrt(): argument 'input' (position 1) must be Tensor, not float",
    "torch.logical_and(f, None)": "logical_and(): argument 'other' (position 2) must be Tensor, not NoneType",
    "torch.logical_or('a', f)": "logical_or(): argument 'input' (position 1) must be Tensor, not str",
    "torch.sigmoid([1.0])": "sigmoid(): argument 'input' (position 1) must be Tensor, not list",
    "torch.logical_not('a')": "logical_not(): argument 'input' (position 1) must be Tensor, not str",
    "torch.nn.Linear(2, 2)(None)": "linear(): argument 'input' (position 1) must be Tensor, not NoneType",
    "torch.nn.Sequential(torch.nn.Linear(2, 2))([[1.0]])": (
        "linear(): argument 'input' (position 1) must be Tensor, not list"
    ),
    "torch.nn.Linear(2, 2)(f.numpy())": "linear(): argument 'input' (position 1) must be Tensor, not numpy.ndarray",
    "torch.nn.LayerNorm(2)(None)": "layer_norm(): argument 'input' (position 1) must be Tensor, not NoneType",
    "torch.nn.Embedding(2, 2)(None)": "embedding(): argument 'indices' (position 2) must be Tensor, not NoneType",
    "torch.nn.CrossEntropyLoss()(None, torch.tensor([1]))": (
        "cross_entropy_loss(): argument 'input' (position 1) must be Tensor, not NoneType"
    ),
    "torch.nn.Conv2d(1, 1, 1)(None)": (
        "conv2d() received an invalid combination of arguments - got (NoneType, Parameter, Parameter, tuple, tuple, "
        "tuple, int), but expected one of:"
    ),
    "F.relu(None)": "relu(): argument 'input' (position 1) must be Tensor, not NoneType",
    "torch.allclose(f, 1.0)": "allclose(): argument 'other' (position 2) must be Tensor, not float",
    "torch.equal(f, 1.0)": "equal(): argument 'other' (position 2) must be Tensor, not float",
    "torch.full((2,), None)": "full(): argument 'fill_value' (position 2) must be Number, not NoneType",
}


@pytest.mark.parametrize("expression", [*UNLIKE, *UNFIT, *NO_TENSOR])
def test_first_line_of_the_error(expression: str) -> None:
    expected = {**UNLIKE, **UNFIT, **NO_TENSOR}[expression]
    with pytest.raises(TypeError if expression in NO_TENSOR else RuntimeError) as caught:
        eval(expression, NAMES)
    assert str(caught.value).split("\n")[0] == expected


@pytest.mark.parametrize("dims", [1, [[1], [0]]])
def test_axes_of_tensordot_may_stand_in_a_tensor(dims: object) -> None:
    a, b = NAMES["a"], NAMES["b"]
    assert torch.tensordot(a, b, torch.tensor(dims)).tolist() == (a @ b).tolist()


def test_half_precision_takes_parameters_of_float32() -> None:
    x = torch.ones(2, 2, dtype=torch.bfloat16)
    assert torch.nn.functional.layer_norm(x, (2,), torch.ones(2)).dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("torch.clone(3)", "clone(): argument 'input' (position 1)"),
        ("torch.transpose(3, 0, 1)", "transpose(): argument 'input' (position 1)"),
        ("torch.linalg.inv(3)", "linalg_inv(): argument 'A' (position 1)"),
        ("F.dropout(3, 0.5)", "dropout(): argument 'input' (position 1)"),
        ("torch.gather(f, 0, 3)", "gather(): argument 'index' (position 3)"),
    ],
)
def test_served_functions_tell_what_is_no_tensor(expression: str, named: str) -> None:
    install.install()
    with pytest.raises(TypeError, match=rf"^{re.escape(named)} must be Tensor, not int"):
        eval(expression, NAMES)


def test_modules_tell_what_is_no_tensor_however_their_functions_are_served() -> None:
    install.install()
    for _ in range(9):
        torch.nn.Linear(2, 2)(ONES)
    with pytest.raises(TypeError, match=r"^linear\(\): argument 'input' \(position 1\) must be Tensor, not NoneType"):
        torch.nn.Linear(2, 2)(None)
