"""The variant for CPUs: torch from an index that is named at build time and nowhere else.

The wheel here is a stand-in, as no index of torch's wheels for CPUs is in reach of the tests: it is not run.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imagekit.image import HOME, Image


@pytest.fixture(scope="module")
def index(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an index with torch's pinned version for CPUs."""
    pin = re.search(r"^torch==([\d.]+)", (root / "requirements/runtime.txt").read_text(), re.MULTILINE)
    assert pin is not None
    version, place = f"{pin[1]}+cpu", tmp_path_factory.mktemp("index")
    wheel, info = f"torch-{version}-py3-none-any.whl", f"torch-{version}.dist-info"
    (place / "torch").mkdir()
    (place / "torch/index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    with zipfile.ZipFile(place / "torch" / wheel, "w") as archive:
        archive.writestr("torch/__init__.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.4\nName: torch\nVersion: {version}\nLicense: BSD\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"torch/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def image(index: str, build: Callable[..., Image]) -> Image:
    """The runtime's image of that variant."""
    return build("runtime", "--torch-variant", "cpu", "--torch-index-url", index, tag="cpu")


def test_torch_is_the_indexs_and_cuda_is_not_there(image: Image, root: Path) -> None:
    assert image.distributions["torch"].endswith("+cpu")
    assert not [name for name in image.distributions if name.startswith(("nvidia", "cuda", "triton"))]
    pinned = dict(
        re.findall(r"^([a-z][\w.-]*)==([\w.]+)", (root / "requirements/runtime.txt").read_text(), re.MULTILINE)
    )
    assert image.distributions["transformers"] == pinned["transformers"]


def test_the_indexs_address_is_nowhere(image: Image, index: str) -> None:
    address = index.removeprefix("http://")
    assert address not in json.dumps([image.config, image.history])
    for path in (image.root / HOME).rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert address.encode() not in path.read_bytes(), path
