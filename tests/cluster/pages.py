"""A page of the documentation as somebody follows it: the files it has one write, and its commands as one script.

Commands begin with `$` in blocks of `console`. A block of `yaml` that begins with a file's name is a file; one that
does not is a part of a service.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from localkube.cluster import Cluster
from localkube.loopback import NO_PROXY


@dataclass
class Page:
    """The files it has one write, its commands in their order, and parts of a service."""

    files: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, name: str, text: str, instead: Mapping[str, str]) -> Page:
        """A page's text, with what a test does `instead`."""
        page = cls()
        for said, other in instead.items():
            text = text.replace(said, other)
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if kind == "console":
                begins, *commands = re.split(r"^\$ ", block, flags=re.MULTILINE)
                assert not begins, f"{name}: not a command: {begins}"
                page.commands += commands
                continue
            assert kind == "yaml", f"{name}: {kind} is neither a manifest nor commands"
            if named := re.match(r"# ([\w/-]+\.yaml)\n", block):
                assert named[1] not in page.files, f"{name} writes {named[1]} twice"
                page.files[named[1]] = block
            else:
                page.parts.append(block)
        for written in page.files:
            folder = written.partition("/")[0]  # a command may apply the folder
            assert any(re.search(rf"(?<![\w/]){re.escape(folder)}\b", each) for each in page.commands), (
                f"{name}: no command uses {written}"
            )
        return page

    def split(self, *begins: str) -> list[Page]:
        """Its commands up to the first that begins so, from there up to the next, and so on."""
        parts = [replace(self, commands=[])]
        for command in self.commands:
            if len(parts) <= len(begins) and command.startswith(begins[len(parts) - 1]):
                parts.append(replace(self, commands=[]))
            parts[-1].commands.append(command)
        assert len(parts) > len(begins), f"no command begins with {begins[len(parts) - 1]}"
        return parts


@dataclass
class Checkout:
    """A folder that looks like a checkout, with the cluster's kubectl and helm on the path of who works in it."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path, repository: Path, cluster: Cluster, namespace: str) -> Checkout:
        """`namespace` is the one that kubectl works in where none is named."""
        for name in ("charts", "crds", "deploy", "examples"):
            shutil.copytree(repository / name, folder / name)
        tools = folder / "bin"
        cluster.write_tools(tools)
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {f"HELM_{part}_HOME": str(folder / ".helm" / part) for part in ("CACHE", "CONFIG", "DATA")}
        return cls(folder, {**os.environ, **NO_PROXY, **own, "PATH": path, "KUBECONFIG": str(folder / "kubeconfig")})

    def follow(self, page: Page) -> str:
        """Do what a page says; returns what the commands printed, each below itself."""
        for name, content in page.files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(content)
        script = "set -euxo pipefail\n" + "".join(page.commands)
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-4000:]
        return result.stdout
