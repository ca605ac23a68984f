"""docs/reference/command-line.md: every command and option of both programs, from click's own description."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import click

from reference.words import code, table
from reranker_operator.cli import main as operator
from reranker_runtime.cli import main as runtime

HEAD: Final = """\
# Command lines

<!-- Made by scripts/reference_pages.py from both programs' own descriptions: edit those, then `make generate`. -->

Bad input is one line on stderr and exit status 2. `--help` of each command prints what stands here.
"""
PROGRAMS: Final = {"reranker-operator": operator, "reranker-runtime": runtime}


def command_page() -> str:
    """The page."""
    return "\n".join([HEAD, *(part for name, group in PROGRAMS.items() for part in program(name, group))])


def program(name: str, group: click.Group) -> Iterator[str]:
    """A program, then each of its commands."""
    yield f"## {name}\n"
    yield f"{said(group)}\n"
    for command_name, command in sorted(group.commands.items()):
        context = click.Context(command, info_name=f"{name} {command_name}")
        yield f"### {name} {command_name}\n"
        yield f"```text\n{' '.join(command.get_usage(context).removeprefix('Usage: ').split())}\n```\n"
        yield f"{said(command)}\n"
        if rows := [row(each) for each in command.params if isinstance(each, click.Option) and not each.hidden]:
            yield table(["option", "value", "default", "meaning"], rows)


def said(command: click.Command) -> str:
    """Its help, unwrapped: paragraphs."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def row(option: click.Option) -> list[str]:
    """One option."""
    flags = ", ".join(code(each) for each in sorted(option.opts, key=len, reverse=True))
    about = (option.help or "").replace("|", "\\|")
    if option.envvar:
        about += f" Variable: {code(str(option.envvar))}."
    if option.required:
        about += " Required."
    return [flags, value(option), default(option), about]


def value(option: click.Option) -> str:
    """What it takes."""
    kind: Any = option.type
    if option.is_flag:
        return ""
    if isinstance(kind, click.Choice):
        return ", ".join(code(str(each)) for each in kind.choices)
    if isinstance(kind, click.IntRange):
        return f"{kind.min} to {kind.max}" if kind.max is not None else f"{kind.min} or more"
    words = (
        code(option.metavar)
        if option.metavar
        else {"text": "text", "integer": "number", "path": "path"}.get(kind.name, kind.name)
    )
    return f"{words}, repeatable" if option.multiple else words


def default(option: click.Option) -> str:
    """What holds without it."""
    given = option.default
    is_value = isinstance(given, str | int | float) and not isinstance(given, bool) and given != ""
    return code(str(given)) if is_value else ""
