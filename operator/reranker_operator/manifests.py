"""Objects as YAML, as the commands print them."""

from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Writes what several objects share in full, as people and `kubectl diff` expect it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def dump(documents: list[Any]) -> str:
    """The documents, one after the other."""
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120)
