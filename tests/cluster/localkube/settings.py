"""The kubelet's timing, scaled down so that tests do not wait, and the variables that every container gets."""

import sys
from pathlib import Path

from localkube.api import Json
from localkube.host import Node
from localkube.images import Image

RETRY_SECONDS = 1.0
"""Between two tries of what is missing: an image, a Secret, a volume."""

BACKOFF_RESET_SECONDS = 60.0
"""A container that ran this long is no longer in a crash loop."""

PROBE_SECONDS = "localkube/probe-seconds"
"""A pod with this annotation has all its probes so many seconds apart, whatever its containers say: for tests of a
probe that fails six times, ten seconds apart."""

_BACKOFF_MAX_SECONDS = 10.0
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def backoff(crashes: int) -> float:
    """Seconds to wait before the next start: none at first, then 1, 2, 4, 8, 10, 10..."""
    return min(_BACKOFF_MAX_SECONDS, 2.0 ** (crashes - 1)) if crashes else 0.0


def base_variables(pod: Json, node: Node, image: Image) -> dict[str, str]:
    """The variables of a container before its own: the project's programs come first on PATH."""
    values = {
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "HOME": "/",
        "HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"],
        **image.env,
    }
    if node.service_host:
        values |= {
            "KUBERNETES_SERVICE_HOST": node.service_host,
            "KUBERNETES_SERVICE_PORT": "443",
            "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        }
    return values
