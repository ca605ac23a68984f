"""Objects as YAML, as the commands read and print them."""

from collections.abc import Iterator
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Tells of a scalar that is not what it is tagged or looks like (`!!int abc`, `2024-13-45`) as of other mistakes.

    PyYAML lets through whatever int(), float() and the like happen to raise.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Raises `ConstructorError` with the line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            if not isinstance(node, yaml.ScalarNode):
                raise
            kind = node.tag.rpartition(":")[2]
            words = f"{node.value!r} is no {kind}; write it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from error


def too_large(document: Any, limit: int = 100_000) -> bool:
    """Whether a document has more values than `limit` once its aliases are written out; one in itself has no end."""
    left, waiting = limit, [iter([document])]
    while waiting:
        for each in waiting[-1]:
            left -= 1
            if left < 0:
                return True
            below = _below(each)
            if below is not None:
                waiting.append(below)
                break
        else:
            waiting.pop()
    return False


def _below(value: Any) -> Iterator[Any] | None:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value) if isinstance(value, list) else None


class _Plain(yaml.SafeDumper):
    """Writes what several objects share in full, as people and `kubectl diff` expect it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def dump(documents: list[Any]) -> str:
    """The documents, one after the other."""
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120)
