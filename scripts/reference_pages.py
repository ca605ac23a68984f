"""Write the pages of docs/reference that are made from code alone: fields, events, metrics, command lines.

python scripts/reference_pages.py           writes them
python scripts/reference_pages.py --check   fails where one is not what it would write
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Final

from reference.commands import command_page
from reference.events import events_page
from reference.fields import fields_page
from reference.operator_metrics import metrics_page

FOLDER: Final = Path(__file__).parents[1] / "docs/reference"
PAGES: Final = {
    "fields.md": fields_page,
    "events.md": events_page,
    "operator-metrics.md": metrics_page,
    "command-line.md": command_page,
}


def main(*, check: bool) -> None:
    """Write every page, or compare."""
    for name, made in PAGES.items():
        path, text = FOLDER / name, made()
        before = path.read_text("utf-8") if path.exists() else ""
        if check and text != before:
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), text.splitlines(True), str(path), "made")
            )
            sys.exit(f"check: {path} does not match the code; run: make generate")
        if not check:
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(check="--check" in sys.argv[1:])
