"""Operators of torch's database that adjit leaves out on purpose, each with the reason."""

GAPS: dict[str, str] = {}
