"""Bytecode for editable installations, as pip makes for others whatever PYTHONDONTWRITEBYTECODE says of imports.

Where that variable is set, as in many container images, each process would compile the modules of an editable
installation anew, which takes longer than everything else that a first call does.  pyproject.toml names the command.
"""

from __future__ import annotations

import compileall

from setuptools.command.editable_wheel import editable_wheel


class EditableWheel(editable_wheel):
    """setuptools' command, which then compiles the modules of every package where they lie."""

    def run(self) -> None:
        """Make the wheel that leads to the tree, and the tree's bytecode."""
        super().run()
        for package in self.distribution.packages or []:
            folder = self.get_finalized_command("build_py").get_package_dir(package)
            # Folders that cannot be written to do without, as they do in an ordinary installation.
            compileall.compile_dir(folder, maxlevels=0, quiet=2)
