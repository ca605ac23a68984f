"""A runtime for tests of what the operator makes of a runtime's numbers: real HTTP at a real pod, numbers of the test.

It takes the place of the runtime's program in an image of its own, verifies anything, answers each ranking in the order
of its passages, and says on its page of metrics that requests waited as long as the test has it.
"""

import sys
from pathlib import Path
from typing import Any

from localkube.cluster import Cluster
from localkube.images import Image

REFERENCE = "example/stand-in:1"
PROGRAM = """
import http.server, json, os, pathlib, signal, sys, threading, time

if sys.argv[1] == "verify":
    sys.exit()
HERE = pathlib.Path(__file__).parent
RATE = 1000.0
started = waited = tokens = 0.0
last = time.monotonic()


def page():
    global started, waited, tokens, last
    said, now = json.loads((HERE / "said.json").read_text()), time.monotonic()
    if "page" in said:
        return said["page"]
    started, waited = started + 10, waited + 10 * said["wait"]
    tokens, last = tokens + said["busy"] * RATE * (now - last), now
    return (
        f"reranker_queue_seconds_count {started}\\nreranker_queue_seconds_sum {waited}\\nreranker_queue_requests 0\\n"
        f"reranker_batch_tokens_sum {tokens}\\nreranker_tokens_per_second {RATE}\\n"
    )


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        lives = json.loads((HERE / "said.json").read_text()).get("lives", True)
        self.answer(page() if self.path == "/metrics" else "{}", 200 if lives else 503)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rankings = [{"index": n, "logit": -n} for n in range(len(body["passages"]))]
        self.answer(json.dumps({"rankings": rankings}))

    def answer(self, text, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Reranker-Revision", os.environ["RERANKER_REVISION"])
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
servers = [http.server.ThreadingHTTPServer(("", port), Handler) for port in (8000, 8002)]
threading.Thread(target=servers[0].serve_forever, daemon=True).start()
servers[1].serve_forever()
"""


class StandIn:
    """The image, and what all its pods say."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        folder.chmod(0o755)
        program = folder / "reranker-runtime"
        program.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
        program.chmod(0o755)
        self._folder = folder
        self.say(0.0)
        # Before all else on the path, it is what the operator's command finds.
        path = {"PATH": "/stand-in:/usr/local/bin:/usr/bin:/bin"}
        cluster.add_image(Image(REFERENCE, files={"/stand-in": str(folder)}, env=path, user=65532))

    @property
    def spec(self) -> dict[str, Any]:
        """The fields of a service that runs it."""
        repository, _, tag = REFERENCE.partition(":")
        return {"image": {"repository": repository, "tag": tag}}

    def say(self, wait: float, busy: float = 0.0) -> None:
        """From now on requests wait so many seconds, and pods are busy for such a share of their time."""
        self._put(f'{{"wait": {wait}, "busy": {busy}}}')

    def say_nothing_of_queues(self) -> None:
        """From now on the page is another server's."""
        self._put('{"page": "up 1\\n"}')

    def cease_to_live(self) -> None:
        """From now on they are well no more."""
        self._put('{"wait": 0, "busy": 0, "lives": false}')

    def _put(self, text: str) -> None:
        fresh = self._folder / "said.new"
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(self._folder / "said.json")
