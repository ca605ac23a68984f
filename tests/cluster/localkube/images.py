"""What stands for container images: a JSON file that says what each image reference runs.

There is no registry. `{"REFERENCE": {"entrypoint": [...], "files": {"/path/in/image": "host folder"}, "env": {}}}`;
programs come from the project's own virtual environment. The file is read again whenever it has changed, so a test can
add an image that a waiting pod then gets.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path


class ImageError(Exception):
    """No such image; `reason` is the kubelet's word for it."""

    def __init__(self, reference: str, policy: str) -> None:
        never = policy == "Never"
        self.reason = "ErrImageNeverPull" if never else "ErrImagePull"
        self.backoff_reason = "ErrImageNeverPull" if never else "ImagePullBackOff"
        detail = "is not present with pull policy of Never" if never else "is not in the cluster's images file"
        super().__init__(f'image "{reference}" {detail}')


@dataclass(frozen=True)
class Image:
    """What an image reference stands for."""

    reference: str
    entrypoint: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    user: int = 0

    @property
    def digest(self) -> str:
        """A name for exactly this content of the entry."""
        content = json.dumps([self.entrypoint, self.files, self.env, self.user], sort_keys=True)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def to_json(self) -> dict[str, object]:
        """The entry in the file."""
        return {"entrypoint": self.entrypoint, "files": self.files, "env": self.env, "user": self.user}


class Images:
    """The images file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._images: dict[str, Image] = {}

    def find(self, reference: str, policy: str = "") -> Image:
        """The image of a reference. Raises ImageError."""
        state = self._path.stat()
        if (state.st_mtime_ns, state.st_ino) != self._seen:
            entries = json.loads(self._path.read_text())
            self._images = {name: Image(name, **entry) for name, entry in entries.items()}
            self._seen = (state.st_mtime_ns, state.st_ino)
        try:
            return self._images[reference]
        except KeyError:
            raise ImageError(reference, policy) from None


def write_images(path: Path, images: dict[str, Image]) -> None:
    """Write the file so that a reader sees the old or the new one, never a half."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({name: image.to_json() for name, image in images.items()}, indent=1))
    fresh.replace(path)
