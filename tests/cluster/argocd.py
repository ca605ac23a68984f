"""Runs deploy/argocd/health.lua as Argo CD does: Lua 5.1, `obj` in, `hs` out, and nothing else in reach."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime

from rerankers import Json

HEALTH = Path(__file__).parents[2] / "deploy/argocd/health.lua"
CODES = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
"""What Argo CD takes."""


@dataclass(frozen=True)
class Health:
    """What Argo CD shows."""

    status: str
    message: str


def health(resource: Json) -> Health:
    """The health of a RerankerService."""
    lua: Any = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    # Argo CD opens none of the libraries that reach beyond the script.
    for name in ("io", "require", "package", "dofile", "loadfile", "debug"):
        lua.globals()[name] = None
    lua.globals()["obj"] = lua.table_from(resource, recursive=True)
    said = lua.execute(HEALTH.read_text())
    assert said["status"] in CODES
    assert isinstance(said["message"], str)
    return Health(said["status"], said["message"])
