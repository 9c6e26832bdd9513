"""Memory shared with NumPy through DLPack and buffers; the switches and devices that scripts ask about."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import adjit

NAMES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("name", NAMES)
def test_dlpack_shares_memory_both_ways(name: str) -> None:
    ours = adjit.ones(2, 3, dtype=getattr(adjit, name))
    theirs = np.from_dlpack(ours.T)
    theirs[0, 1] = 0
    assert ours[1, 0].item() == 0 and theirs.shape == (3, 2)
    back = adjit.from_dlpack(theirs)
    back.fill_(1)
    assert bool((ours == 1).all()) and back.dtype is ours.dtype


def test_dlpack_capsules() -> None:
    source = adjit.arange(4.0)
    made = adjit.utils.dlpack.from_dlpack(adjit.utils.dlpack.to_dlpack(source))
    made[2] = 7
    assert source.tolist() == [0, 1, 7, 3]
    assert adjit.from_dlpack(source, copy=True).add_(1).sum() != source.sum()


def test_what_dlpack_refuses() -> None:
    with pytest.raises(BufferError, match="Can't export tensors that require gradient"):
        adjit.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match="bfloat16"):
        adjit.ones(2, dtype=adjit.bfloat16).__dlpack__()
    with pytest.raises(RuntimeError, match="from_dlpack received an invalid capsule"):
        adjit.from_dlpack(3)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    copied = adjit.from_dlpack(frozen)
    copied.add_(1)
    assert frozen.tolist() == [0, 1, 2]


def test_buffers() -> None:
    data = bytearray(b"abcdef")
    found = adjit.frombuffer(data, dtype=adjit.int16, offset=2)
    found[0] = 0
    assert data == b"ab\0\0ef"
    with pytest.warns(UserWarning, match="not writable"):
        copied = adjit.frombuffer(b"ab", dtype=adjit.uint8)
    assert copied.tolist() == [97, 98]
    for arguments, message in (
        ({"dtype": adjit.int32}, r"buffer length \(6 bytes\) after offset \(0 bytes\) must be a multiple of"),
        ({"dtype": adjit.int16, "count": 9}, r"requested buffer length \(9 \* 2 bytes\) after offset"),
        ({"dtype": adjit.int16, "offset": 6}, "must be non-negative and no greater than buffer length"),
        ({"dtype": adjit.int16, "count": 0}, "must not be 0"),
    ):
        with pytest.raises(ValueError, match=message):
            adjit.frombuffer(data, **arguments)


def test_numpy_functions_give_tensors_with_history() -> None:
    x = adjit.tensor([0.5, 1.0], requires_grad=True)
    (np.sin(x) * np.ones(2)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([0.5, 1.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("cuda.is_available()", False), ("cuda.device_count()", 0), ("cuda.manual_seed_all(3)", None),
        ("cuda.memory_allocated()", 0), ("mps.is_available()", False), ("backends.cudnn.version()", None),
        ("backends.mps.is_built()", False), ("backends.cuda.matmul.allow_tf32", False), ("version.cuda", None),
        ("get_num_interop_threads()", 1), ("get_float32_matmul_precision()", "highest"),
        ("are_deterministic_algorithms_enabled()", False), ("typename(adjit.ones(2))", "torch.FloatTensor"),
        ("typename(3)", "int"), ("is_tensor(adjit.ones(1))", True), ("backends.opt_einsum.is_available()", False),
        ("backends.cpu.get_cpu_capability() in ('AVX512', 'AVX2', 'DEFAULT')", True), ("_dynamo.reset()", None),
        ("_dynamo.config.suppress_errors", False),
    ],
)  # fmt: skip
def test_questions_of_scripts(question: str, answer: Any) -> None:
    assert eval(f"adjit.{question}") == answer


def test_settings_of_absent_libraries_are_kept() -> None:
    cudnn = import_module("adjit.backends.cudnn")
    assert cudnn is adjit.backends.cudnn and cudnn.enabled
    with cudnn.flags(enabled=False, deterministic=True), pytest.raises(KeyError):
        assert cudnn.deterministic and not cudnn.enabled
        with cudnn.flags(enabled=True):
            assert cudnn.enabled and not cudnn.deterministic
        raise KeyError
    assert cudnn.enabled and not cudnn.deterministic and cudnn.benchmark_limit is None


def test_modules_run_on_the_one_device() -> None:
    layer, x = adjit.nn.Linear(3, 2), adjit.ones(4, 3)
    assert adjit.nn.parallel.DataParallel is adjit.nn.DataParallel
    assert adjit.nn.parallel.data_parallel(layer, x).equal(layer(x))
    with pytest.raises(ValueError, match="process group has not been initialized"):
        adjit.nn.parallel.DistributedDataParallel(layer)
    summed = adjit.nn.parallel.data_parallel(adjit.nn.Bilinear(3, 3, 1), (x, x), module_kwargs={})
    assert summed.shape == (4, 1)


def test_threads_and_determinism() -> None:
    before = adjit.get_num_threads()
    adjit.set_num_threads(1)
    assert adjit.get_num_threads() == 1
    adjit.set_num_threads(before)
    adjit.use_deterministic_algorithms(True, warn_only=True)
    assert adjit.get_deterministic_debug_mode() == 1
    adjit.use_deterministic_algorithms(False)
    with pytest.raises(RuntimeError, match="expects a positive integer"):
        adjit.set_num_threads(0)


def test_mixed_precision_loops_run_in_full_precision() -> None:
    with pytest.warns(UserWarning, match="Disabling"):
        scaler, cast = adjit.amp.GradScaler("cuda"), adjit.autocast("cuda")
    w = adjit.ones(3, requires_grad=True)
    optimizer = adjit.optim.SGD([w], lr=0.5)
    with cast:
        loss = (w**2).sum()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0, 0, 0] and loss.dtype is adjit.float32 and scaler.get_scale() == 1


def test_a_scaler_skips_overflows() -> None:
    scaler = adjit.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    w = adjit.ones(2, requires_grad=True)
    optimizer = adjit.optim.SGD([w], lr=0.25)
    scaler.scale((w**2).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0.5, 0.5] and scaler.get_scale() == 8
    w.grad = adjit.tensor([float("inf"), 1.0])
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0.5, 0.5] and scaler.get_scale() == 4
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()


def test_data_of_what_was_computed_changes_without_its_history() -> None:
    x = adjit.tensor([1.0, 2.0], requires_grad=True)
    z = x * 3
    z.data = adjit.tensor([0.5, 0.25])
    assert z.requires_grad and not z.is_leaf and type(z.grad_fn).__name__ == "MulBackward0"
    (z * z).sum().backward()
    assert x.grad.tolist() == [3.0, 1.5]  # 2 z * 3
    x.grad, z = None, x * 3
    z.data = adjit.tensor([0.5, 0.25])
    z.mul_(2).exp().sum().backward()
    assert x.grad.tolist() == pytest.approx([6 * math.exp(1.0), 6 * math.exp(0.5)])


def test_devices_have_one_index() -> None:
    assert adjit.device("cpu", 1).index == 1 and adjit.device("cpu:1") == adjit.device("cpu", 1)
    with pytest.raises(RuntimeError, match="must not include an index because index was passed explicitly: cpu:0"):
        adjit.device("cpu:0", 1)
    with pytest.raises(RuntimeError, match="Device index must not be negative"):
        adjit.device("cpu", -3)


def test_tensors_are_dense() -> None:
    x = adjit.ones(2, 3)
    assert (x.dense_dim(), x.sparse_dim()) == (2, 0)
    assert x.to_dense() is x and x.to_dense(dtype=adjit.float64).dtype is adjit.float64
