"""The ranking that the demo asks for, and how it shows the answer."""

import json
import textwrap
import urllib.request
from dataclasses import dataclass

from localkube.loopback import ask

QUERY = "which way should i go?"
PASSAGES = (
    (
        "two roads diverged in a yellow wood, and sorry i could not travel both and be one traveler, long i stood and "
        "looked down one as far as i could to where it bent in the undergrowth;"
    ),
    (
        "then took the other, as just as fair, and having perhaps the better claim because it was grassy and wanted "
        "wear, though as for that the passing there had worn them really about the same,"
    ),
    (
        "and both that morning equally lay in leaves no step had trodden black. oh, i marked the first for another "
        "day! yet knowing how way leads on to way i doubted if i should ever come back."
    ),
    (
        "i shall be telling this with a sigh somewhere ages and ages hence: two roads diverged in a wood, and i, i "
        "took the one less traveled by, and that has made all the difference."
    ),
)
"""Robert Frost, The Road Not Taken (1916, public domain): the example of NVIDIA's reranking documentation."""

_TIMEOUT = 60
_WIDTH = 90


@dataclass(frozen=True)
class Ranked:
    """A passage's place: its number in the request and its score."""

    index: int
    logit: float


def request_body(model: str) -> dict[str, object]:
    """The body of the ranking request."""
    return {
        "model": model,
        "query": {"text": QUERY},
        "passages": [{"text": passage} for passage in PASSAGES],
        "truncate": "END",
    }


def rank(url: str, model: str) -> list[Ranked]:
    """Ask the server at this base URL; the best passage comes first. Raises OSError."""
    request = urllib.request.Request(
        f"{url}/v1/ranking",
        data=json.dumps(request_body(model)).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    with ask(request, timeout=_TIMEOUT) as answer:
        return [Ranked(entry["index"], entry["logit"]) for entry in json.load(answer)["rankings"]]


def table(ranked: list[Ranked]) -> str:
    """The answer as a table."""
    lines = [f"query: {QUERY}", "", "rank    logit  passage"]
    for place, entry in enumerate(ranked, 1):
        text = textwrap.shorten(PASSAGES[entry.index], _WIDTH, placeholder=" ...")
        lines.append(f"{place:>4} {entry.logit:>8.4f}  {text}")
    return "\n".join(lines)


def curl(url: str, model: str) -> str:
    """The command that asks the same."""
    body = json.dumps(request_body(model), indent=1)
    return f"curl -s {url}/v1/ranking -H 'Content-Type: application/json' -d '{body}'"
