"""Draw docs/concepts/*.svg: boxes and arrows that are readable in light and dark, on a forge and in the site.

python scripts/pictures.py           writes them
python scripts/pictures.py --check   fails where one is not what it would draw
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from drawing.pictures import PICTURES

FOLDER: Final = Path(__file__).parents[1] / "docs/concepts"


def main(*, check: bool) -> None:
    """Write every picture, or compare."""
    for name, draw in PICTURES.items():
        path, text = FOLDER / f"{name}.svg", str(draw())
        if not check:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            sys.exit(f"check: {path} is not what scripts/drawing draws; run: make generate")


if __name__ == "__main__":
    main(check="--check" in sys.argv[1:])
