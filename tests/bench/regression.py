"""Whether a run is slower than a stored one: `python -m tests.bench.regression OLD.json NEW.json [--tolerance 1.25]`.

Both files are what the benchmarks here write with `--json`.  Seconds of two runs are not comparable on machines that
others use too, so what is compared is each figure over that of the best peer measured beside it; figures without a peer
(sizes, chains) are compared as they are, with twice the tolerance.  Exits with 1 if a figure is worse, or is missing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Key = tuple[str, ...]


def relative(rows: list[dict[str, Any]]) -> dict[Key, tuple[float, bool]]:
    """By name and contender: adjit's figure, over the best peer's where there is one, and whether there is."""
    groups: dict[Key, list[tuple[str, float]]] = {}
    for row in rows:
        key, contender, value = _read(row)
        groups.setdefault(key, []).append((contender, value))
    found: dict[Key, tuple[float, bool]] = {}
    for key, entries in groups.items():
        peers = [value for contender, value in entries if not contender.startswith("adjit")]
        for contender, value in entries:
            if contender.startswith("adjit"):
                found[*key, contender] = (value / min(peers), True) if peers else (value, False)
    return found


def _read(row: dict[str, Any]) -> tuple[Key, str, float]:
    """What a row of any benchmark's file is about, whose it is, and the figure; lower is better."""
    if "workload" in row:  # tests.bench.workloads
        return (row["workload"], str(row["threads"])), row["contender"], row["steady"]
    if "contender" in row:  # tests.bench.latency
        return (row["name"],), row["contender"], row["value"]
    return (row["name"],), "adjit", row["adjit"] if row["ratio"] is None else 1 / row["ratio"]  # tests.bench.calls


def compare(old: list[dict[str, Any]], new: list[dict[str, Any]], tolerance: float) -> list[str]:
    """A line for each figure that became worse by more than the tolerance, or is gone."""
    before, after = relative(old), relative(new)
    lines = []
    for key, (value, has_peer) in before.items():
        name = ", ".join(key)
        if key not in after:
            lines.append(f"{name}: not measured")
            continue
        ratio = after[key][0] / value
        if ratio > (tolerance if has_peer else 1 + 2 * (tolerance - 1)):
            what = "of the best peer" if has_peer else "alone"
            lines.append(f"{name}: {ratio:.2f} times what it was ({value:.3g} then, {after[key][0]:.3g} now, {what})")
    return lines


def main() -> int:
    """Compare two files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=1.25)
    chosen = parser.parse_args()
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (chosen.old, chosen.new))
    lines = compare(old, new, chosen.tolerance)
    print("\n".join(lines) or f"no figure is more than {chosen.tolerance} times what it was")
    return bool(lines)


if __name__ == "__main__":
    raise SystemExit(main())
