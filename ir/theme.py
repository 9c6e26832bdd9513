"""Colours that follow what a reader's program shows: light or dark."""

from __future__ import annotations


def themed(name: str, light: str, dark: str) -> str:
    """CSS that gives the class `name` the light or the dark declarations.

    The system's setting decides, unless the page says what it is, as JupyterLab's does.
    """
    return (
        f".{name}{{{light}}}@media(prefers-color-scheme:dark){{.{name}{{{dark}}}}}"
        f'[data-jp-theme-light="true"] .{name}{{{light}}}[data-jp-theme-light="false"] .{name}{{{dark}}}'
    )
