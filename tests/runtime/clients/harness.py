"""Runs inside a client's environment: does with each client what its user would do, and tells as JSON what came of it.

A driver is a file with `CLIENTS`: names, and for each a function that takes an `Ask` and answers with (index, score) in
the client's order. Nothing but the standard library is imported here: environments hold only what their clients need.
"""

import json
import os
import runpy
import sys
import traceback
from types import SimpleNamespace as Ask
from typing import Any


def ask(job: dict[str, Any], **more: Any) -> Ask:
    """What a user knows: url, key (None: gives none), model, query, texts, top (None: says nothing), and `most`."""
    given = {name: job[name] for name in ("url", "model", "query", "texts")}
    made = Ask(**(given | {"key": None, "top": None} | more))
    made.most = max(len(made.texts), 1) if made.top is None else made.top
    return made


def outcomes(rank: Any, job: dict[str, Any]) -> dict[str, Any]:
    """What comes of each thing that users do."""
    return {
        "ranked": attempt(rank, ask(job)),
        "best": attempt(rank, ask(job, top=2)),
        "admitted": attempt(rank, ask(job, url=job["guarded"], key=job["key"])),
        "refused": attempt(rank, ask(job, url=job["guarded"], key="not-the-key-that-opens")),
        "long": attempt(rank, ask(job, texts=[*job["texts"], job["long"]])),
        "empty": attempt(rank, ask(job, texts=[])),
    }


def attempt(rank: Any, asked: Any) -> dict[str, Any]:
    """An answer or a failure, as a user sees it."""
    try:
        return {"value": [[index, score] for index, score in rank(asked)]}
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what its user meets
        shown = "".join(traceback.format_exception_only(error))
        return {"raised": type(error).__name__, "shown": shown, "held": held(error)}


def held(error: Any) -> str:
    """What a user who looks into the exception finds: the answer's body, where the client keeps it."""
    response = getattr(error, "response", None)
    kept = [getattr(error, "body", None), getattr(error, "http_body", None), getattr(response, "text", None)]
    return " ".join(str(each) for each in kept if each)


def main() -> None:
    """Reads a job as JSON, writes the outcomes of each client."""
    job = json.load(sys.stdin)
    report, sys.stdout = sys.stdout, sys.stderr  # what clients print must not end up in the report
    found = {name: outcomes(rank, job) for name, rank in runpy.run_path(sys.argv[1])["CLIENTS"].items()}
    json.dump(found, report)
    report.flush()
    os._exit(0)  # clients leave threads behind that would keep the process


if __name__ == "__main__":
    main()
