"""The process that fuzzes one target: `python explore.py SITE TARGET FOLDER [libFuzzer's flags]`.

SITE is where atheris is installed: an environment of its own, whose one package is put behind those of this
interpreter, so that what is fuzzed runs with the very libraries that are served. FOLDER keeps inputs that found
something new; seeds and what is committed in corpus/ are put there first.
"""

from __future__ import annotations

import hashlib
import itertools
import resource
import sys
from importlib import import_module
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"
EVERY = 25
"""Inputs after which memory is told."""
MEMORY = 1 << 30
"""Bytes that an input may have the process take; more is a `MemoryError`, and a finding."""
SHARE = 0.05
"""Of the inputs are changed by the fuzzer even where the target has ways of its own."""


def main() -> None:
    site, name, folder, *flags = sys.argv[1:]
    # The fuzzer's own limit is for the most there ever was, and begins with what pytest held when it started this.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    sys.path += [site, str(Path(__file__).parents[1])]
    import atheris  # noqa: PLC0415 - from the place just given

    with atheris.instrument_imports(include=["reranker_runtime"]):
        target = import_module(f"fuzz.targets.{name}").TARGET
    known = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    for seed in (*target.seeds, *known):
        (Path(folder) / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        try:
            made = None if random.random() < SHARE else target.mutate(bytes(data), random)
        except RecursionError:  # in making it, not in reading it
            made = None
        if made is None or len(made) > most:
            return bytes(atheris.Mutate(bytes(data), most))
        return bytes(made)

    tried = itertools.count(1)

    def check(data: bytes) -> None:
        target.check(data)
        if (number := next(tried)) % EVERY == 0:
            sys.stdout.write(f"resident: {resident()} bytes after {number} inputs\n")
            sys.stdout.flush()

    atheris.Setup([sys.argv[0], folder, *flags], check, custom_mutator=mutate, internal_libfuzzer=True)
    atheris.Fuzz()


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
