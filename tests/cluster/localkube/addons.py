"""What a cluster needs beside control plane and kubelets, in one process: Services and storage.

`python -m localkube.addons`. It also holds the cluster's part of the loopback addresses, by an inherited socket.
"""

import argparse
import asyncio
import signal
from pathlib import Path
from urllib.parse import urlsplit

from localkube.api import Api
from localkube.provisioner import Provisioner
from localkube.services import Services
from localkube.tasks import until_one_ends


async def serve(kubeconfig: Path, volumes: Path) -> None:
    """Forward and provision until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Api(kubeconfig) as api:
        server = urlsplit(api.server)
        services = Services(api, (server.hostname or "", server.port or 443))
        await until_one_ends(services.run(), Provisioner(api, volumes).run(), stop.wait())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="localkube.addons", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--volumes", type=Path, required=True, help="folder for the claims' folders")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.kubeconfig, arguments.volumes))


if __name__ == "__main__":
    main()
