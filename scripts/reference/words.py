"""Markdown, and the words that stand in code as docstrings of attributes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from enum import Enum


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown without line breaks."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """As code, in a cell of a table, too."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


def told(kind: type[Enum]) -> dict[str, str]:
    """The docstring of each member, by its name. Raises `LookupError` where one has none."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for one, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[one.targets[0].id] = " ".join(text.split())
    if missing := kind.__members__.keys() - found.keys():
        raise LookupError(f"{kind.__name__}.{min(missing)} has no docstring: say below it what it means")
    return found
