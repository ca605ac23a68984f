"""`make audit` finds what should not ship, and says plainly what it could not look for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ADVISORY = {
    "id": "TEST-2026-1",
    "summary": "made up",
    "details": "made up",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "kopf", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999"}]}],
        }
    ],
}


def audit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/audit.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


class Advisories(BaseHTTPRequestHandler):
    """Stands for the service: one advisory, about kopf."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [ADVISORY]} if asked["package"]["name"] == "kopf" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service that knows of one vulnerability."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_known_vulnerability_is_named_with_its_remedy(root: Path, service: str) -> None:
    done = audit(root, "advisories", "--osv-url", service)
    assert done.returncode == 1
    assert "kopf" in done.stderr
    assert "TEST-2026-1, fixed in 9999" in done.stderr


def test_an_excused_one_is_not(clone: Path, service: str) -> None:
    table = "[tool.audit.excused-advisories]"
    edit(clone / "pyproject.toml", table, f"{table}\nTEST-2026-1 = ''")
    done = audit(clone, "advisories", "--osv-url", service, "--require-advisories")
    assert done.returncode == 0, done.stderr
    assert "asked about" in done.stdout


def test_a_service_that_cannot_be_asked_is_told_of_and_fails_only_where_it_must_not(root: Path) -> None:
    nobody = ["advisories", "--osv-url", "http://127.0.0.1:1/v1/query"]  # a port that nobody listens on
    told = audit(root, *nobody)
    assert told.returncode == 0, told.stderr
    assert "vulnerabilities: DID NOT RUN" in told.stdout
    required = audit(root, *nobody, "--require-advisories")
    assert required.returncode == 1
    assert "vulnerabilities: DID NOT RUN" in required.stderr


def test_what_may_not_ship_is_named(clone: Path) -> None:
    edit(clone / "pyproject.toml", '"MPL-2.0", ', '"NONE-AT-ALL", ')
    edit(clone / "pyproject.toml", "mpmath =", "mpmath-of-old =")
    append(clone / "requirements/operator.txt", "click==8.1.0\n")
    append(clone / "runtime/reranker_runtime/logs.py", "\nimport pickle\n\n\nread = pickle.loads(b'')\n")
    done = audit(clone, "code", "pins", "licences")
    assert done.returncode == 1
    assert "B301" in done.stderr
    assert "certifi: its licence MPL-2.0" in done.stderr
    assert "mpmath names no licence" in done.stderr
    assert "mpmath-of-old, which no image holds" in done.stderr
    assert "requirements/operator.txt: click==8.1.0 has no hash" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_checkout_the_pins_are_not_looked_for_and_a_line_says_so(clone: Path) -> None:
    (clone / ".git").rename(clone / "kept")
    done = audit(clone, "pins")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "git does not tell" in done.stderr
    assert "audit a git checkout" in done.stderr


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
