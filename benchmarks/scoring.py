"""The engine beside its peers, on the same weights, passages and machine: `make bench NAME=scoring`.

Prints one table for each load: median seconds, the peers' seconds by ours in the same round, tokens per second, the
share of the machine's bf16 matrix rate, and how far scores are from those of
plain transformers in fp32. BERT cross-encoders of 22M and 110M parameters with
random weights; passages of mixed lengths. Peers: sentence-transformers, plain transformers as model cards show it, and
infinity-emb in an environment of its own, each with torch's default threads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from kit import models
from kit.bound import Bound, flops, shapes
from kit.paths import CACHE
from kit.report import number_text, ratio, share, show
from kit.rounds import Contestant, compete, difference, paired, spread
from kit.texts import mixed

from reranker_runtime.models.registry import describe

INFINITY = "infinity-emb[torch,server]==0.0.78"
LOADS = ["22m:100:5", "110m:100:3", "22m:512:3"]
DEFAULT_PEER = "sentence-transformers"
COLUMNS = ("way", "seconds", "by ours", "tokens/s", "bf16 peak", "off the reference")


def infinity_python() -> tuple[str | None, str]:
    """The interpreter of an environment with infinity-emb, made once; or None, and why there is none."""
    folder = CACHE / "infinity"
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    try:
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, capture_output=True)
        install = [uv, "pip", "install", "--quiet", "--python", python, INFINITY]
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=1200)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        return None, f"infinity-emb could not be installed: {said[-1]}"
    return str(python), ""


def contest(name: str, passages: int, rounds: int, python: str | None) -> None:
    model = models.bert(name)
    blueprint = describe(model)
    ours = Contestant("this engine, bf16", "engine", model, {"NIM_PRECISION": "bf16"})
    fp32 = {"dtype": "float32"}
    others = [
        Contestant("this engine, fp32", "engine", model, {"NIM_PRECISION": "fp32"}),
        Contestant("sentence-transformers, fp32 (its default)", DEFAULT_PEER, model, fp32),
        Contestant("sentence-transformers, bf16", DEFAULT_PEER, model, {"dtype": "bfloat16"}),
        Contestant("transformers, fp32, 32 at a time in given order", "transformers", model, fp32),
    ]
    if python:
        others.append(Contestant("infinity-emb, fp32 (its default on a CPU)", "infinity", model, fp32, python))
    bf16, apart = Bound(shapes(blueprint)), Bound(shapes(blueprint), torch.float32)
    together = Bound(shapes(blueprint), torch.float32, apart=False)

    def between() -> None:
        for bound in (bf16, apart, together):
            bound.measure()

    competed, absent = compete([ours, *others], mixed(passages), rounds, between)
    if ours not in competed:
        sys.exit(absent[0])
    asked, work = ours.last["tokens"], flops(blueprint, ours.last["computed"], ours.last["rows"])
    least = work / bf16.best
    reference = next((each for each in competed if each.kind == "transformers"), ours)
    rows = [
        (
            each.name,
            each.median,
            ratio(paired(ours, each)),
            asked / each.median,
            share(work / each.median / bf16.best),
            "0" if each is reference else number_text(difference(reference, each)),
        )
        for each in competed
    ]
    rows.append(("the bound: matrix products alone at the bf16 peak", least, "", "", "100%", ""))
    title = f"{name}: 1 query x {passages} passages, {asked:,} tokens, {rounds} rounds"
    peaks = (
        f"bf16 peak {bf16.best / 1e12:.2f} TFLOP/s, one product a core; fp32 {apart.best / 1e12:.2f} so, and "
        f"{together.best / 1e12:.2f} with all cores on one product: bf16 is {bf16.best / apart.best:.1f} and "
        f"{bf16.best / together.best:.1f} times as fast"
    )
    most = [f"{each.median / least:.1f} times as fast as {each.name}" for each in competed if each.kind == DEFAULT_PEER]
    reach = f"at that peak, and with attention for nothing, an engine would be no more than {' and '.join(most)}"
    counted = (
        f"{work / 1e12:.2f} TFLOP is what the engine computes, and every share is of that; its last block computes "
        "one token of each passage, and only that is counted; attention is not"
    )
    notes = [peaks, reach, counted, f"standard deviation of the scores {spread(ours):.2g}", *absent]
    show((title, *COLUMNS[1:]), rows, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("loads", nargs="*", default=LOADS, metavar="MODEL:PASSAGES:ROUNDS", help="22m or 110m")
    parser.add_argument("--without-infinity", action="store_true")
    given = parser.parse_args()
    python, why = (None, "") if given.without_infinity else infinity_python()
    if why:
        print(why)
    for load in given.loads:
        name, passages, rounds = load.split(":")
        contest(name, int(passages), int(rounds), python)


if __name__ == "__main__":
    main()
