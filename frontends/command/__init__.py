"""The command line: `python -m adjit`.

`parser` knows the commands and their options, `target` finds the function that FILE:FUNC names, `calls` what it is
called with; `inspecting`, `programs`, `storage` and `doctor` do the work, `terminal` and `failure` say it.
"""
