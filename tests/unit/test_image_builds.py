"""`scripts/images.py` up to the engine: what it would build, and what it says where it cannot."""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

RECORD = """#!{python}
import json, sys
if "info" in sys.argv:
    sys.exit({status})
files = {{}}
for argument in sys.argv:
    if argument.startswith("--secret="):
        fields = dict(field.split("=", 1) for field in argument.removeprefix("--secret=").split(","))
        files[fields["id"]] = open(fields["src"]).read()
if "--file" in sys.argv:
    files["file"] = open(sys.argv[sys.argv.index("--file") + 1]).read()
with open({record!r}, "a") as lines:
    print(json.dumps([sys.argv[1:], files]), file=lines)
sys.exit({built})
"""


class Bench:
    """A machine with these engines, which write down what they are asked for."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._bin, self._record = root, folder / "bin", folder / "record"
        self._bin.mkdir()
        (self._bin / "git").symlink_to("/usr/bin/git")

    def engine(self, name: str, *, works: bool = True, built: int = 0) -> None:
        program = self._bin / name
        program.write_text(
            RECORD.format(
                python=sys.executable, record=str(self._record), status=0 if works else "'no daemon'", built=built
            )
        )
        program.chmod(0o755)

    def build(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        return subprocess.run(
            [sys.executable, self._root / "scripts/images.py", *arguments],
            env=kept | {"PATH": str(self._bin), "PIP_CONFIG_FILE": os.devnull} | variables,
            capture_output=True,
            text=True,
        )

    @property
    def asked(self) -> list[tuple[list[str], dict[str, str]]]:
        return [tuple(json.loads(line)) for line in self._record.read_text().splitlines()]


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    return Bench(root, tmp_path)


def test_without_an_engine_it_says_what_is_missing(bench: Bench) -> None:
    bench.engine("docker", works=False)
    done = bench.build()
    assert done.returncode == 1
    assert "docker: no daemon" in done.stderr
    assert "podman: not installed" in done.stderr
    assert "`make tools` installs buildah" in done.stderr


def test_the_first_engine_that_works_builds_both(bench: Bench, root: Path) -> None:
    bench.engine("docker", works=False)
    bench.engine("podman")
    bench.engine("buildah")
    done = bench.build("--base", "registry.example/python@sha256:0123", SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert f"built ghcr.io/reranker-operator/reranker-runtime:{version}" in done.stdout
    assert "with podman" in done.stdout
    targets = [arguments[arguments.index("--target") + 1] for arguments, _ in bench.asked]
    assert targets == ["operator", "runtime"]
    arguments = bench.asked[0][0]
    assert shlex.join(arguments[:6]) == "build --format docker --layers --timestamp 1700000000"
    assert "--build-arg=CREATED=2023-11-14T22:13:20Z" in arguments
    assert f"--build-arg=VERSION={version}" in arguments
    assert "--build-arg=BASE_IMAGE=registry.example/python@sha256:0123" in arguments
    assert not [argument for argument in arguments if "TORCH" in argument]
    # A value and not an argument: podman and buildah would else take the labels of the build before.
    assert f'image.version="{version}"' in bench.asked[0][1]["file"]


def test_pips_way_to_an_index_goes_along_as_a_secret(bench: Bench, tmp_path: Path) -> None:
    bench.engine("docker")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    done = bench.build(
        "--target", "operator", PIP_INDEX_URL="https://me:word@index.example/simple", PIP_CERT=str(bundle)
    )
    assert done.returncode == 0, done.stderr
    [(arguments, secrets)] = bench.asked
    assert secrets["ca"] == "certificates"
    assert "index-url = https://me:word@index.example/simple\n" in secrets["pip"]
    assert "cert = /run/secrets/ca\n" in secrets["pip"]
    assert "index.example" not in " ".join(arguments)
    gone = next(argument for argument in arguments if argument.startswith("--secret=id=pip"))
    assert not Path(gone.rpartition("src=")[2]).exists(), "it held a password"


def test_the_cpu_variant_is_the_runtimes_and_needs_an_index(bench: Bench) -> None:
    bench.engine("docker")
    done = bench.build("--torch-variant", "cpu")
    assert done.returncode == 2
    assert "belong together" in done.stderr
    done = bench.build("--torch-variant", "cpu", "--torch-index-url", "https://index.example/cpu", "--tag", "1")
    assert done.returncode == 0, done.stderr
    (operator, _), (runtime, _) = bench.asked
    assert not [argument for argument in operator if "TORCH" in argument]
    assert {"--build-arg=TORCH_VARIANT=cpu", "--build-arg=TORCH_INDEX_URL=https://index.example/cpu"} <= set(runtime)


def test_a_build_that_fails_fails(bench: Bench) -> None:
    bench.engine("docker", built=7)
    done = bench.build()
    assert done.returncode == 7
    assert "docker could not build ghcr.io/reranker-operator/reranker-operator:" in done.stderr
    assert len(bench.asked) == 1, "the other was not begun"
    done = bench.build("--engine", "docker", SOURCE_DATE_EPOCH="yesterday")
    assert done.returncode == 1
    assert "SOURCE_DATE_EPOCH=yesterday: expected seconds since 1970" in done.stderr


def test_requirements_are_split_without_loss(root: Path, tmp_path: Path) -> None:
    def split(variant: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            root / "scripts/image/parts.py",
            root / "requirements/runtime.txt",
            tmp_path / variant,
        ]
        return subprocess.run([*command, variant], capture_output=True, text=True)

    def pins(text: str) -> list[str]:
        return [line for line in text.splitlines() if line[:1].isalpha()]

    assert split("cuda").returncode == 0
    assert split("cpu").returncode == 0
    whole = pins((root / "requirements/runtime.txt").read_text())
    large, rest = (pins((tmp_path / "cuda" / name).read_text()) for name in ("torch.txt", "packages.txt"))
    assert sorted([*large, *rest]) == sorted(whole)
    assert "--hash=sha256:" in (tmp_path / "cuda/torch.txt").read_text()
    cpu = (tmp_path / "cpu/torch.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in cpu] == ["torch"]
    other = split("rocm")
    assert other.returncode == 1
    assert "TORCH_VARIANT=rocm: expected cuda or cpu" in other.stderr
