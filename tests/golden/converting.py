"""Running `reranker-operator convert`."""

from __future__ import annotations

import subprocess

from click.testing import CliRunner

from reranker_operator.cli import main

SERVICE = """\
apiVersion: apps.nvidia.com/v1alpha1
kind: NIMService
metadata: {name: rerank}
spec:
  image: {repository: nvcr.io/nim/nvidia/rerank, tag: "1"}
  resources: {limits: {nvidia.com/gpu: 1}}
"""


def run(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    """The command in this process; an exception is not swallowed."""
    result = CliRunner(catch_exceptions=False).invoke(main, ["convert", *arguments], input=stdin)
    return subprocess.CompletedProcess(["convert"], result.exit_code, result.stdout, result.stderr)
