"""Many services on a real control plane, beside a bare loader: `make bench-operator` (`ARGS="--count 200"`).

Measures one operator process with its shipped rights: creating services with five children each, restarting and idling
with nothing to do, repairing children, rolling what a rotated Secret is used by. No pods run: a hollow kubelet ends the
model Jobs' pods, and the services ask for no replicas. With `--probes` they ask for one, the hollow kubelet calls it
ready, and the operator's own rankings get answers. Says on stderr what it does; takes about half an hour with a
thousand services, most of it for the control plane to clear away what the loader made.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from many import creation, repair, rotation, still, table
from many.bench import CONCURRENCY, Bench, Operator
from many.hollow import hollow_kubelet, hollow_node
from many.rankings import Rankings

from localkube.api import Api
from localkube.cluster import Cluster
from localkube.progress import Progress

NAMESPACE = "many"
FIGURES = ("creation", "restart", "idle", "repair", "rotation")


async def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Take every figure that is asked for, and print the table."""
    wanted = options.only or FIGURES
    operator = Operator(bench)
    await asyncio.to_thread(operator.process.install)
    results = table.Results(bench.count)
    try:
        if "creation" in wanted:
            results.creation = await creation.measure(bench, NAMESPACE, operator, options.concurrency)
        else:
            await creation.prepare(bench, NAMESPACE)
        if set(wanted) - {"creation"}:
            await with_all_there(bench, operator, options, results)
    finally:
        await operator.stop()
        table.show_results(results)


async def with_all_there(bench: Bench, operator: Operator, options: argparse.Namespace, results: table.Results) -> None:
    """The figures that are taken with every Deployment rolled out."""
    wanted, rankings = options.only or FIGURES, Rankings()
    addresses = bench.cluster.control_plane.addresses
    async with AsyncExitStack() as stack:
        if bench.replicas:
            await stack.enter_async_context(hollow_node(bench.api, addresses.node(0)))
            await stack.enter_async_context(rankings.served(bench.api, NAMESPACE))
        await stack.enter_async_context(hollow_kubelet(bench.api, NAMESPACE, addresses.pods))
        await still.settle(bench, NAMESPACE, operator)
        if "restart" in wanted:
            results.restart = await still.restart(bench, NAMESPACE, operator)
        if "idle" in wanted:
            results.idle = await still.idle(bench, NAMESPACE, operator, options.idle, lambda: rankings.asked)
        if "repair" in wanted:
            results.repairs = await repair.measure(bench, NAMESPACE, options.damages)
        if "rotation" in wanted:
            results.rotations = await rotation.measure(bench, NAMESPACE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="services (default: 1000)")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="of the bare loader (default: 8)")
    parser.add_argument("--idle", type=float, default=120.0, metavar="SECONDS", help="how long to watch (default: 120)")
    parser.add_argument("--damages", type=int, default=200, help="children to delete or edit (default: 200)")
    parser.add_argument("--probes", action="store_true", help="one replica each, and rankings for the operator")
    parser.add_argument("--folder", type=Path, help="where logs and the cluster's state stay (default: nowhere)")
    parser.add_argument("--only", nargs="+", choices=FIGURES, help="figures to take (default: all)")
    options = parser.parse_args()
    say = Progress()
    with tempfile.TemporaryDirectory(prefix="many-services-") as temporary:
        folder = options.folder or Path(temporary)
        say("starting a control plane without nodes")
        cluster = Cluster(folder / "cluster", nodes={}, addons=False)

        async def run() -> None:
            async with Api(cluster.kubeconfig) as api:
                await measure(Bench(cluster, api, folder, say, options.count, int(options.probes)), options)

        with cluster:
            asyncio.run(run())


if __name__ == "__main__":
    main()
