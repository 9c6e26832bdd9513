"""The loggers of this package: adjit.ir, adjit.passes, adjit.cache, adjit.guards.

`ADJIT_LOG=ir,passes,cache,guards` (or `all`) prints what they say to standard error.  Python's logging is not even
imported while neither the program nor the environment asks for it.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

KINDS = ("ir", "passes", "cache", "guards")


def listening(kind: str) -> Logger | None:
    """The logger `adjit.<kind>` if anybody listens to its debug messages, else None."""
    if "logging" not in sys.modules and not os.environ.get("ADJIT_LOG"):
        return None
    import logging

    for asked in asked_for(os.environ.get("ADJIT_LOG", "")):
        _to_standard_error(asked)
    logger = logging.getLogger(f"adjit.{kind}")
    return logger if logger.isEnabledFor(logging.DEBUG) else None


@cache
def asked_for(text: str) -> tuple[str, ...]:
    """The loggers that `ADJIT_LOG` names; a name that is none gives one warning."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in (*KINDS, "all")]
    if unknown:
        import warnings

        known = ", ".join((*KINDS, "all"))
        warnings.warn(f"ADJIT_LOG: there is no {', '.join(unknown)}; there are {known}", RuntimeWarning, stacklevel=4)
    return KINDS if "all" in names else tuple(name for name in names if name in KINDS)


@cache
def _to_standard_error(kind: str) -> None:
    """Let a logger print by itself."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(name)s] %(message)s"))
    logger = logging.getLogger(f"adjit.{kind}")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
