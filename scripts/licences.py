"""Which licence an installed package has, by its own metadata, and whether that is one we ship."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Final, NamedTuple

from license_expression import ExpressionError, Licensing, get_spdx_licensing

WORDS: Final = {
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "mit license": "MIT",
    "3-clause bsd license": "BSD-3-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
"""SPDX's names for what older metadata say in words that mean one licence."""


class Rules(NamedTuple):
    """What pyproject.toml says."""

    allowed: Collection[str]
    """SPDX identifiers."""
    proprietary: Collection[str]
    """Packages that no open licence covers and that ship all the same."""
    elsewhere: Mapping[str, str]
    """SPDX expressions of packages whose metadata name none; their LICENSE file does."""


def judge(name: str, rules: Rules) -> str | None:
    """What is wrong with a package's licence, in a line, or None."""
    if name in rules.proprietary:
        return None
    try:
        stated = rules.elsewhere.get(name) or expression(name)
    except PackageNotFoundError:
        return f"{name} is required here and not installed, so that its licence is unknown; run: make setup"
    if not stated:
        return f"{name} names no licence in its metadata; find it out and note it in [tool.audit.stated-elsewhere]"
    try:
        parsed = licensing().parse(stated)
    except ExpressionError as error:
        return f"{name}: {stated!r} is no SPDX expression ({error}); note one in [tool.audit.stated-elsewhere]"
    if not holds(parsed, rules.allowed):
        return f"{name}: its licence {stated} is not among those that ship; drop it, or argue for it in [tool.audit]"
    return None


def expression(name: str) -> str | None:
    """The SPDX expression of a package: its own, else what its words or its one classifier mean.

    Raises PackageNotFoundError.
    """
    told = metadata(name)
    if "License-Expression" in told:
        return told["License-Expression"]
    classifiers = [
        each.rpartition(" :: ")[2] for each in told.get_all("Classifier") or () if each.startswith("License :: ")
    ]
    for words in (*told.get_all("License", ()), *(classifiers if len(classifiers) == 1 else ())):
        known: str = WORDS.get(words.lower(), words)
        if known and not licensing().validate(known).errors:
            return known
    return None


def holds(parsed: Any, allowed: Collection[str]) -> bool:
    """Whether an expression can be met with the allowed licences alone."""
    if isinstance(parsed, licensing().AND):
        return all(holds(part, allowed) for part in parsed.args)
    if isinstance(parsed, licensing().OR):
        return any(holds(part, allowed) for part in parsed.args)
    return str(parsed) in allowed


@cache
def licensing() -> Licensing:
    """SPDX's list; it takes a moment to read."""
    return get_spdx_licensing()
