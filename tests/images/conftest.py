"""Both images, built once by `scripts/images.py` on a base of this machine's own. IMAGES_KEEP=1 keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imagekit.image import HOME, Image
from imagekit.store import Store, UnavailableError, opened

FIGURES = pytest.StashKey[dict[str, str]]()
"""What the tests measured, for docs/performance.md: in words, by what it is of."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Building takes minutes, which pytest counts as the time of the first test that needs it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(2400))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash[FIGURES]:
        terminalreporter.section("sizes and times")
        for name, value in figures.items():
            terminalreporter.write_line(f"| {name} | {value} |")


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """`figure(of what, value)`: show it at the end."""
    return pytestconfig.stash[FIGURES].__setitem__


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """buildah's store, with the base in it."""
    try:
        with opened(keep=bool(os.environ.get("IMAGES_KEEP"))) as made:
            yield made
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no image was built or tested: {error}")
        pytest.skip(f"no image was built or tested: {error}")


@pytest.fixture(scope="session")
def build(root: Path, store: Store, figure: Callable[[str, str], None]) -> Callable[..., Image]:
    """`build(target, *options)`: run the script that `make images` runs."""

    def execute(target: str, *options: str, tag: str = "test") -> Image:
        command = [sys.executable, root / "scripts/images.py", "--engine", "buildah", "--base", store.base]
        command += ["--registry", "localhost", "--tag", tag, "--target", target, *options]
        begin = time.monotonic()
        done = subprocess.run(command, env=store.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        figure(f"{target} image ({tag}), built in", f"{time.monotonic() - begin:.0f} s")
        return Image(store, f"localhost/reranker-{target}:{tag}")

    return execute


@pytest.fixture(scope="session")
def base(store: Store) -> Image:
    """What both images begin with."""
    return Image(store, store.base)


@pytest.fixture(scope="session")
def operator(build: Callable[..., Image], base: Image, figure: Callable[[str, str], None]) -> Image:
    """The operator's image."""
    return measured(build("operator"), base, figure)


@pytest.fixture(scope="session")
def runtime(build: Callable[..., Image], base: Image, figure: Callable[[str, str], None]) -> Image:
    """The runtime's image, with CUDA."""
    return measured(build("runtime"), base, figure)


def measured(image: Image, base: Image, figure: Callable[[str, str], None]) -> Image:
    """The image, its size told."""
    parts = {part: image.size(f"{HOME}/{part}") for part in ("torch", "packages", "code", "about")}
    parts["model"] = image.size("models")
    told = ", ".join(f"{part} {size / 2**20:,.1f}" for part, size in parts.items() if size)
    figure(
        f"{image.name.rpartition('/')[2]}, MiB", f"{image.size() / 2**20:,.0f}: base {base.size() / 2**20:,.0f}, {told}"
    )
    return image


@pytest.fixture(params=["operator", "runtime"])
def image(request: pytest.FixtureRequest) -> Image:
    """Either."""
    found: Image = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def validate(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """`validate(file)`: what CycloneDX's own library says of a bill of materials; "valid", or why not."""
    place = tmp_path_factory.mktemp("tools")
    uv, python = Path(sys.executable).with_name("uv"), place / "bin/python"
    pins = root / "requirements/image.txt"
    for arguments in (["venv", "--python", sys.executable, place], ["pip", "install", "--python", python, "-r", pins]):
        subprocess.run([uv, "--quiet", *arguments], check=True)
    source = """
import sys, cyclonedx.schema as schema, cyclonedx.validation.json as validation
validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
print(validator.validate_str(open(sys.argv[1]).read()) or "valid")
"""
    return lambda file: subprocess.run([python, "-c", source, file], check=True, capture_output=True, text=True).stdout
