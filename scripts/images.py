"""Build the images with docker, podman or buildah, whichever is there.

python scripts/images.py [--target operator|runtime] [--engine docker|podman|buildah] [--base IMAGE] [--no-cache]
                         [--torch-variant cpu --torch-index-url URL] [--registry NAME] [--tag TAG] [--source URL]

The labels come from pyproject.toml and git. Each build reaches package indexes as pip on this machine does: pip's own
configuration and certificates go along as build secrets, which leave nothing in an image.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TARGETS: Final = ("operator", "runtime")
ENGINES: Final = ("docker", "podman", "buildah")
KEPT: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
"""Settings of pip that say how an index is reached."""
CERTIFICATES: Final = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def main() -> int:
    """Build; returns the exit status."""
    options = arguments()
    engine = options.engine or find_engine()
    labels = describe(options.source)
    with tempfile.TemporaryDirectory() as folder:
        secrets = list(pip_secrets(Path(folder)))
        for target in options.target or TARGETS:
            tag = options.tag or labels["VERSION"] + ("-cpu" if is_cpu(options, target) else "")
            image = f"{options.registry}/reranker-{target}:{tag}"
            command = [*building(engine, labels, Path(folder)), *given(options, target), *secrets]
            command += ["--target", target, "--tag", image, str(ROOT)]
            print(f"images: building {image} with {engine}", flush=True)
            done = subprocess.run(command, check=False, env={**os.environ, "DOCKER_BUILDKIT": "1"})
            if done.returncode:
                print(f"images: {engine} could not build {image}; its own words stand above", file=sys.stderr)
                return done.returncode
            print(f"images: built {image}", flush=True)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=ENGINES, help="default: the first of these that works")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: both")
    parser.add_argument("--registry", default="ghcr.io/reranker-operator", help="default: %(default)s")
    parser.add_argument("--tag", help="default: the version, and -cpu for that variant")
    parser.add_argument("--base", help="the image to build from, by digest where it matters; default: the Dockerfile's")
    parser.add_argument("--torch-variant", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument("--torch-index-url", help="the index of torch's wheels for CPUs")
    parser.add_argument("--source", help="where the code can be got, for the label; default: git's origin")
    parser.add_argument("--no-cache", action="store_true", help="build every layer anew")
    options = parser.parse_args()
    if (options.torch_variant == "cpu") != bool(options.torch_index_url):
        parser.error(
            "--torch-variant cpu and --torch-index-url belong together: the default index has no torch for CPUs"
        )
    return options


def find_engine() -> str:
    """The first engine that answers; ends the program with what is wrong with each where none does."""
    problems = []
    for engine in ENGINES:
        if shutil.which(engine) is None:
            problems.append(f"{engine}: not installed")
            continue
        asked = subprocess.run([engine, "info"], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return engine
        problems.append(f"{engine}: {' '.join((asked.stderr.strip() or 'does not work').splitlines()[-1:])}")
    listed = "".join(f"\n  {problem}" for problem in problems)
    sys.exit(f"images: nothing here can build an image:{listed}\n`make tools` installs buildah where there is apt-get")


def building(engine: str, labels: dict[str, str], folder: Path) -> list[str]:
    """The command up to the person's options, with what makes podman and buildah build the same layers again."""
    values = dict(labels)
    own = []
    # docker gets the time as an argument, from which BuildKit takes that of the image and not that of its files.
    if engine != "docker":  # the OCI format, their default, has no HEALTHCHECK
        own = ["--format", "docker", "--layers", "--timestamp", values.pop("SOURCE_DATE_EPOCH")]
        # buildah's cache looks at a LABEL's words, not at the arguments in them (containers/buildah#5501): give values.
        text = (ROOT / "Dockerfile").read_text()
        for name, value in values.items():
            text = text.replace(f'"${{{name}}}"', json.dumps(value))
        (folder / "Dockerfile").write_text(text)
        own += ["--file", str(folder / "Dockerfile")]
    return [engine, "build", *own, *(f"--build-arg={name}={value}" for name, value in values.items())]


def given(options: argparse.Namespace, target: str) -> Iterator[str]:
    """What the person asked for."""
    if options.base:
        yield f"--build-arg=BASE_IMAGE={options.base}"
    if is_cpu(options, target):
        yield "--build-arg=TORCH_VARIANT=cpu"
        yield f"--build-arg=TORCH_INDEX_URL={options.torch_index_url}"
    if options.no_cache:
        yield "--no-cache"


def is_cpu(options: argparse.Namespace, target: str) -> bool:
    """Whether this image is of the variant without CUDA; the operator's has no variants."""
    return bool(options.torch_variant == "cpu" and target == "runtime")


def describe(source: str | None) -> dict[str, str]:
    """The build arguments that become labels, and the time of the commit."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    now = int(datetime.datetime.now(tz=datetime.UTC).timestamp())
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or str(now)
    if not epoch.isdecimal():
        sys.exit(f"images: SOURCE_DATE_EPOCH={epoch}: expected seconds since 1970")
    changed = "-changed" if git("status", "--porcelain") else ""
    revision = git("rev-parse", "HEAD")
    created = datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC)
    return {
        "VERSION": version,
        "REVISION": f"{revision}{changed}" if revision else "unknown",
        "SOURCE": source or origin(),
        "CREATED": created.isoformat().replace("+00:00", "Z"),
        "SOURCE_DATE_EPOCH": epoch,
    }


def origin() -> str:
    """Where this checkout came from, if that is an address on the web: without a name or password in it."""
    remote = re.fullmatch(r"(https?://)(?:[^/@]*@)?(.+)", git("remote", "get-url", "origin"))
    return f"{remote[1]}{remote[2]}" if remote else "unknown"


def git(*words: str) -> str:
    """What git says; nothing where it cannot."""
    try:
        said = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def pip_secrets(folder: Path) -> Iterator[str]:
    """The options that pass on how pip reaches its index."""
    settings = pip_settings()
    certificates = [settings.get("cert"), *(os.environ.get(name) for name in CERTIFICATES)]
    kept = {name: value for name, value in settings.items() if name in KEPT}
    if bundle := next((path for path in certificates if path and Path(path).is_file()), None):
        yield f"--secret=id=ca,src={bundle}"
        kept["cert"] = "/run/secrets/ca"
    if kept:
        file = folder / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in kept.items()))
        yield f"--secret=id=pip,src={file}"


def pip_settings() -> dict[str, str]:
    """pip's settings by their names, whichever file or variable they are from; the environment's win."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    if said.returncode:
        print("images: pip does not tell its settings; the builds go without them", file=sys.stderr)
    found = {}
    for line in sorted(said.stdout.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = " ".join(str(ast.literal_eval(value)).split())
    return found


if __name__ == "__main__":
    sys.exit(main())
