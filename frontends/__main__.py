"""The command line: `python -m adjit inspect FILE:FUNC`, `run`, `explain`, `profile`, `cache`, `doctor`, `demo`."""

from __future__ import annotations

import sys

from adjit.command.parser import main

if __name__ == "__main__":
    sys.exit(main())
