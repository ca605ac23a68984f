"""What stands in for NVIDIA's image, which cannot be had here.

The bundled runtime keeps the same contract: started by its image's entrypoint, with nothing set for it but what NVIDIA
documents.
"""

from typing import Any

from localkube.cluster import MODEL_PATH, small_model
from localkube.images import Image

_REPOSITORY, _TAG = "registry.example/nim/minilm", "1.8.0"

NIM: dict[str, Any] = {
    "model": None,  # the image's own
    "runtime": "NIM",
    "image": {"repository": _REPOSITORY, "tag": _TAG},
}
"""The fields of a service that runs it."""


def nim_image() -> Image:
    """The image itself."""
    return Image(
        f"{_REPOSITORY}:{_TAG}",
        entrypoint=["reranker-runtime", "serve"],
        files={MODEL_PATH: str(small_model())},
        env={"NIM_MODEL_PATH": MODEL_PATH},
    )
