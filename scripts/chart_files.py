"""Write what the chart holds a copy of: the CRD, the operator's rules, and the table of its values in docs/.

python scripts/chart_files.py            write them
python scripts/chart_files.py --check    say what is not up to date; exit status 1 if anything is
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/reranker-operator"
PAGE = ROOT / "docs/guides/install.md"
BEGIN, END = "<!-- begin values -->", "<!-- end values -->"
RULES = {
    "rules": ("rules/rules.yaml", "reranker-operator"),
    "classes": ("cluster-wide.yaml", "reranker-operator-classes"),
    "lease": ("operator/account.yaml", "reranker-operator-lease"),
    "key": ("namespaced/key.yaml", "reranker-operator-key"),
}
"""Name in the chart: file below deploy/, and the name of the role in it."""


def main() -> int:
    """Write or compare; returns the exit status."""
    wanted = {**_crds(), **_rules(), PAGE: _page()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        return 0
    for path in stale:
        print(f"check: {path.relative_to(ROOT)} is not up to date; run: make generate", file=sys.stderr)
    return 1 if stale else 0


def _crds() -> dict[Path, str]:
    return {CHART / "files/crds" / path.name: path.read_text() for path in (ROOT / "crds").glob("reranking.dev_*.yaml")}


def _rules() -> dict[Path, str]:
    made = {}
    for name, (file, role) in RULES.items():
        documents = (ROOT / "deploy" / file).read_text().split("\n---\n")
        (text,) = [each for each in documents if _is_role(yaml.safe_load(each), role)]
        made[CHART / f"files/rbac/{name}.yaml"] = text[text.index("\nrules:\n") :].strip() + "\n"
    return made


def _is_role(document: dict[str, object], name: str) -> bool:
    metadata = document["metadata"]
    return document["kind"] in {"Role", "ClusterRole"} and isinstance(metadata, dict) and metadata["name"] == name


def _page() -> str:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table()}\n{END}{after}"


def _table() -> str:
    """A line for each value that has a comment above it: its path, its default, the comment."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    lines = ["| value | default | |", "| --- | --- | --- |"]
    path: list[str] = []
    said: list[str] = []
    for line in text.partition("\n\n")[2].splitlines():
        if comment := re.fullmatch(r"\s*# (.*)", line):
            said.append(comment[1])
        elif key := re.fullmatch(r"( *)([A-Za-z]+):.*", line):
            path[len(key[1]) // 2 :] = [key[2]]
            default = _at(values, path)
            if said and not (isinstance(default, dict) and _has_comments(text, path)):
                shown = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
                lines.append(f"| `{'.'.join(path)}` | `{shown}` | {' '.join(said)} |")
            elif said:
                lines.append(f"| `{'.'.join(path)}` | | {' '.join(said)} |")
            said = []
    return "\n".join(lines) + "\n"


def _at(values: object, path: list[str]) -> object:
    for part in path:
        assert isinstance(values, dict)
        values = values[part]
    return values


def _has_comments(text: str, path: list[str]) -> bool:
    """Whether the entries of a value have comments, and so lines of their own."""
    indent = "  " * len(path)
    found = re.search(rf"^{'  ' * (len(path) - 1)}{path[-1]}:\n{indent}# ", text, re.MULTILINE)
    return found is not None


if __name__ == "__main__":
    sys.exit(main())
