"""What `check_nan` costs: the workloads' compiled programs with and without it, in one run.

`python -m tests.bench.nan_checks [--only softmax,mlp] [--threads N]`.  Each round times both once, in turn; medians are
printed, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.warm import warm_up
from tests.bench.workload_cases import WORKLOADS
from tests.bench.workloads import adjit_run


def seconds(run: Callable[[], Any], least: float) -> float:
    """The time of one run, over as many as take `least` seconds."""
    count, total = 0, 0.0
    start = time.perf_counter()
    while total < least:
        run()
        count += 1
        total = time.perf_counter() - start
    return total / count


def main() -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="parts of workloads' names, with commas between")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.02, help="the least time of one measurement")
    chosen = parser.parse_args()
    parts = chosen.only.split(",")
    print(f"{'workload':22} {'off':>10} {'NaN':>10} {'ratio':>6} {'inf too':>10} {'ratio':>6}")
    for workload in WORKLOADS:
        if not any(part in workload.name for part in parts):
            continue
        operands = workload.operands(np.random.default_rng(0))
        runs = [adjit_run(workload, operands, chosen.threads, check_nan=kind) for kind in (False, True, "inf")]
        warm_up(*runs)
        rounds = [[seconds(run, chosen.seconds) for run in runs] for _ in range(chosen.rounds)]
        off, nan, inf = (statistics.median(times) for times in zip(*rounds, strict=True))
        times = f"{off * 1e6:8.1f}us {nan * 1e6:8.1f}us {nan / off:6.2f} {inf * 1e6:8.1f}us {inf / off:6.2f}"
        print(f"{workload.name:22} {times}", flush=True)


if __name__ == "__main__":
    main()
