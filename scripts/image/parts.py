"""Split the runtime's pinned requirements for the image: what is large and rarely changes gets a layer of its own.

python parts.py RUNTIME.txt DIRECTORY VARIANT     writes torch.txt and packages.txt into DIRECTORY

VARIANT `cuda` leaves all hashes in place. With `cpu` torch.txt names torch's version alone, as an index of CPU wheels
has other files than the one these hashes are of, and NVIDIA's libraries and triton are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

LARGE: Final = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
PIN: Final = re.compile(r"torch==[^ ]+")


def blocks(text: str) -> list[str]:
    """One block a requirement: its line, and the indented lines of its hashes."""
    return re.findall(r"^[a-z].*\n(?:[ \t].*\n)*", text, re.MULTILINE)


def split(text: str, variant: str) -> tuple[str, str]:
    """The contents of torch.txt and packages.txt."""
    found = blocks(text)
    large = [block for block in found if LARGE.match(block)]
    rest = [block for block in found if block not in large]
    if variant == "cpu":
        large = [PIN.match(block)[0] + "\n" for block in large if PIN.match(block)]  # type: ignore[index] # just matched
    return "".join(large), "".join(rest)


def main() -> None:
    """The command line."""
    source, directory, variant = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if variant not in ("cuda", "cpu"):
        sys.exit(f"TORCH_VARIANT={variant}: expected cuda or cpu")
    large, rest = split(source.read_text(), variant)
    if "torch==" not in large:
        sys.exit(f"{source} pins no torch; `make requirements` compiles it")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "torch.txt").write_text(large)
    (directory / "packages.txt").write_text(rest)


if __name__ == "__main__":
    main()
