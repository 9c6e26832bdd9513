"""`doctor`: what adjit runs on, whether it works, and what makes it slower than it could be."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adjit.command.failure import FAILED, OK
from adjit.command.terminal import columns, paint
from adjit.inspection.printing import size_text, time_text
from adjit.ir.errors import CompileError

_LIBRARIES = ("numpy", "llvmlite", "sympy", "optree", "platformdirs", "safetensors", "tqdm", "ml_dtypes")
_VECTORS = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512bf16", "neon", "sve")
_SLOW_COMPILE = 5.0  # seconds for a program of a few lines: something is wrong with the machine


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: whether it is well, and what was seen.  `advice` is what would make it better."""

    name: str
    well: bool
    seen: str
    advice: str = ""


def doctor(*, as_json: bool) -> int:
    """Print versions, machine, checks and advice; 1 if something does not work."""
    facts = {**_versions(), **_machine(), **_settings()}
    target = _target()
    compiling = (_compilation, _native_calls) if target.well else ()
    checks = [target, *(check() for check in (_cache, *compiling, _import, _blas, _threads))]
    if as_json:
        print(json.dumps({"facts": facts, "checks": [_as_dict(check) for check in checks]}, indent=1))
    else:
        print(columns(list(facts.items()), indent=""))
        print()
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = paint("ok   ", "good") if check.well else paint("FAIL ", "bad")
            print(f"{mark}{check.name.ljust(width)}  {check.seen}")
        advice = [f"{check.name}: {check.advice}" for check in checks if check.advice]
        if advice:
            print("\n" + paint("could be better", "title"))
            print("\n".join(f"  {line}" for line in advice))
    return OK if all(check.well for check in checks) else FAILED


def _as_dict(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.well, "seen": check.seen, "advice": check.advice}


def _versions() -> dict[str, str]:
    import adjit
    from adjit.compiler.llvm.binding import LLVM_VERSION

    found = {"adjit": f"{adjit.__version__} in {Path(adjit.__file__).parent}"}
    found["python"] = f"{platform.python_version()} {platform.python_implementation()} at {sys.executable}"
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["llvm"] = LLVM_VERSION
    return found


def _target() -> Check:
    """The machine that code is made for."""
    from adjit.compiler.llvm.target import host_target

    try:
        return Check("target", True, host_target().cpu)
    except CompileError as error:
        return Check("target", False, str(error), "unset ADJIT_CPU")


def _machine() -> dict[str, str]:
    from adjit.compiler.llvm.target import host_target

    try:
        target = host_target()
    except CompileError:
        return {"system": f"{platform.system()} {platform.release()}", "processor": f"{os.cpu_count()} processors"}
    present = {name[1:] for name in target.features.split(",") if name.startswith("+")}
    return {
        "system": f"{platform.system()} {platform.release()}, {target.triple}",
        "processor": f"{target.cpu}, {8 * target.vector_bytes}-bit vectors, {os.cpu_count()} processors",
        "features": " ".join(name for name in _VECTORS if name in present) or "none of those adjit asks for",
    }


def _settings() -> dict[str, str]:
    own = sorted(name for name in os.environ if name.startswith("ADJIT_"))
    names = [*own, "OMP_NUM_THREADS", "OPENBLAS_CORETYPE"]
    found = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return {"settings": " ".join(found) or "none in the environment"}


def _cache() -> Check:
    from adjit.runtime.cache import cache_key, default_cache

    cache = default_cache()
    if cache is None:
        return Check("disk cache", True, "off (ADJIT_CACHE=0)", "each process compiles again what others compiled")
    key = cache_key("doctor", str(os.getpid()))
    cache.put(key, b"written")
    if cache.get(key) != b"written":
        advice = "set ADJIT_CACHE_DIR to a folder of yours that others cannot write to"
        return Check("disk cache", False, f"{cache.directory} cannot be used", advice)
    return Check("disk cache", True, f"{cache.directory}, {cache.count()} programs, {size_text(cache.size())}")


def _compilation() -> Check:
    """A small function and its gradient by native code and by NumPy."""
    import adjit

    x = adjit.linspace(-2.0, 2.0, 101, dtype=adjit.float64).requires_grad_()
    numbers = x.detach().numpy()
    start = time.perf_counter()
    result = adjit.compile(lambda x: (x.exp() * x.sin()).sum())(x)
    result.backward()
    seconds = time.perf_counter() - start
    assert x.grad is not None
    expected = np.exp(numbers) * (np.sin(numbers) + np.cos(numbers))
    error = float(np.max(np.abs(x.grad.numpy() - expected)))
    well = error < 1e-12
    slow = "" if seconds < _SLOW_COMPILE else "the machine is busy, or its memory is short"
    return Check("compiled gradient", well, f"largest error {error:.1e}, compiled in {seconds:.2f} s", slow)


def _native_calls() -> Check:
    from adjit.native.install import install

    if install():
        return Check("native calls", True, "eager operations and compiled functions are called natively")
    advice = "this Python or NumPy lays objects out in a way adjit does not know: calls go through Python"
    if os.environ.get("ADJIT_NATIVE") == "0":
        advice = "unset ADJIT_NATIVE"
    return Check("native calls", True, "off: each call costs some microseconds more", advice)


def _import() -> Check:
    """The time of `import adjit` in a new process, and whether Python may keep what it compiled for the next one."""
    program = "import time; start = time.perf_counter(); import adjit; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return Check("import adjit", False, (done.stderr.strip().splitlines() or ["failed"])[-1])
    folder = Path(__file__).parent / "__pycache__"
    advice = ""
    if sys.dont_write_bytecode:
        advice = "Python keeps no bytecode, so each import compiles: unset PYTHONDONTWRITEBYTECODE"
    elif not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        advice = f"Python can keep no bytecode, so each import compiles: {folder} cannot be written"
    return Check("import adjit", True, time_text(float(done.stdout)), advice)


def _blas() -> Check:
    """The library behind NumPy, which factorizations and large products call."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    forced = os.environ.get("OPENBLAS_CORETYPE")
    advice = f"OPENBLAS_CORETYPE={forced} makes NumPy use another processor's kernels: unset it" if forced else ""
    return Check("NumPy's BLAS", True, f"{found.get('name', 'unknown')} {found.get('version', '')}".strip(), advice)


def _threads() -> Check:
    from adjit.runtime.threads import get_num_threads

    threads, processors = get_num_threads(), os.cpu_count() or 1
    advice = ""
    if threads == 1 < processors:
        advice = f"one of {processors} processors is used: ADJIT_NUM_THREADS, OMP_NUM_THREADS or this container says so"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > processors:
        advice = f"the machine is busy: load {load:.1f} on {processors} processors"
    return Check("threads", True, f"{threads} for kernels", advice)
