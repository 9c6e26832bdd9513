"""The array API standard's own test suite against `adjit.array_api`: `python -m tests.peers.array_api SUITE`.

SUITE is a clone of https://github.com/data-apis/array-api-tests with its submodule (`git clone --recurse-submodules`);
it needs ndindex and pytest-json-report beside pytest and hypothesis.  Nothing of it is kept here.  What the namespace
does not follow the standard in stands, with the reason, in array_api_skips.txt; everything else must pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from adjit import array_api

SKIPS = Path(__file__).with_name("array_api_skips.txt")
COMPLEX = ("complex64", "complex128")


def command(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """The suite's call of pytest."""
    examples = [f"--max-examples={options.max_examples}", "--disable-deadline"]
    skips = [] if options.all else [f"--skips-file={SKIPS}"]
    chosen = rest if any(not argument.startswith("-") for argument in rest) else [*rest, "array_api_tests"]
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *examples, *skips, *chosen]


def environment() -> dict[str, str]:
    """The variables that name the namespace and say which dtypes it lacks."""
    absent = [name for name in COMPLEX if not hasattr(array_api, name)]
    known = {"ARRAY_API_TESTS_MODULE": array_api.__name__, "ARRAY_API_TESTS_VERSION": array_api.__array_api_version__}
    return {**os.environ, **known, **({"ARRAY_API_TESTS_SKIP_DTYPES": ",".join(absent)} if absent else {})}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--max-examples", type=int, default=30)
    parser.add_argument("--all", action="store_true", help="run what array_api_skips.txt leaves out, too")
    options, rest = parser.parse_known_args()  # the rest is pytest's
    return subprocess.run(command(options, rest), cwd=options.suite, env=environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
