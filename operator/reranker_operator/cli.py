"""`reranker-operator run | crd | render | convert | diagnose | health`. Bad input: a line on stderr, exit status 2."""

import asyncio
import re
import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, NoReturn

import click
import yaml

from reranker_operator import LEASE_NAME, __version__
from reranker_operator.api import KIND, InvalidResourceError, RerankerService
from reranker_operator.api.crd import FILE_NAME, crd_yaml
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.convert.command import convert
from reranker_operator.desired import Defaults, desired
from reranker_operator.manifests import Loader, dump, too_large

_NAME = "[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?"
_ALLOW_HOST_PATH = click.option(
    "--allow-host-path",
    "host_paths",
    multiple=True,
    metavar="PREFIX",
    envvar="RERANKER_OPERATOR_ALLOW_HOST_PATH",
    help="Allow hostPath sources below PREFIX (repeatable). Such pods do not meet restricted Pod Security.",
)
_HEALTH_PORT = click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=8081,
    show_default=True,
    help="/healthz and /readyz; 0 = off.",
)
_RUNTIME_IMAGE = click.option(
    "--runtime-image",
    default=Defaults().image,
    show_default=True,
    envvar="RERANKER_OPERATOR_RUNTIME_IMAGE",
    help="Runtime image where a service names none.",
)


_PROXY = (
    click.option("--proxy-http", metavar="URL", help="spec.proxy.http of services that download and have none."),
    click.option("--proxy-https", metavar="URL", help="spec.proxy.https, likewise."),
    click.option("--no-proxy", metavar="HOSTS", help="spec.proxy.noProxy, likewise."),
    click.option(
        "--proxy-ca",
        metavar="CONFIGMAP[/KEY]",
        help="spec.proxy.caConfigMap, likewise: of the service's own namespace; key: ca.crt.",
    ),
)


def _proxy_options(command: Any) -> Any:
    return reduce(lambda made, option: option(made), reversed(_PROXY), command)


def _defaults(options: dict[str, Any]) -> Defaults:
    """What options say of services that say nothing themselves; they are taken out."""
    said = [options.pop(name) for name in ("proxy_http", "proxy_https", "no_proxy", "proxy_ca")]
    try:
        proxy = DefaultProxy.of(*said)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Defaults(image=options.pop("runtime_image"), proxy=proxy)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reranker-operator")
def main() -> None:
    """Turn RerankerService resources into running, GPU-backed ranking pods."""


main.add_command(convert)


@main.command()
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help=f"Directory to write {FILE_NAME} into; default: stdout."
)
def crd(output: Path | None) -> None:
    """Print the CustomResourceDefinition, or write it into a directory."""
    if output is None:
        click.echo(crd_yaml(), nl=False)
        return
    if not output.is_dir():
        raise click.UsageError(f"--output {output}: no such directory; make it first")
    (output / FILE_NAME).write_text(crd_yaml())


@main.command()
@click.argument("file", type=click.File("r"))
@_ALLOW_HOST_PATH
@_RUNTIME_IMAGE
@_proxy_options
def render(file: Any, host_paths: tuple[str, ...], **options: Any) -> None:
    """Print, offline, every object that the services in FILE ("-": standard input) would make."""
    from reranker_operator.reconcile.admission import host_path_problem  # noqa: PLC0415

    defaults = _defaults(options)
    try:
        documents = [document for document in yaml.load_all(file, Loader) if document]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        _fail(f"{file.name}: not YAML: {' '.join(str(error).split())}")
    except RecursionError:
        _fail(f"{file.name}: not YAML: nested too deep")
    if any(map(too_large, documents)):
        _fail(f"{file.name}: a document holds too much, or an alias of itself; split it")
    services = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if not services:
        _fail(f"{file.name}: holds no {KIND}; nothing to render")
    made: list[dict[str, Any]] = []
    for document in services:
        try:
            service = defaults.fill(RerankerService.parse(document))
        except InvalidResourceError as error:
            _fail(f"{file.name}: {error}")
        if problem := host_path_problem(service, host_paths):
            _fail(f"{file.name}: {KIND} {service.name}: {problem}")
        made += desired(service, defaults).objects()
    click.echo(dump(made), nl=False)


@main.command()
@click.option(
    "--namespace",
    "-n",
    "namespaces",
    multiple=True,
    help="Namespace to watch; may be given several times. Default: all.",
)
@click.option(
    "--lease-namespace",
    default="reranker-system",
    show_default=True,
    envvar="POD_NAMESPACE",
    help="The operator's own namespace, of the leader's Lease and of its key.",
)
@click.option(
    "--lease-name",
    default=LEASE_NAME,
    show_default=True,
    help="Of operators with a Lease of this name one leads; others in its namespace need another.",
)
@click.option(
    "--lease-seconds",
    type=click.IntRange(4, 300),
    default=15,
    show_default=True,
    help="How long a leader that was killed holds back the next one.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Prometheus metrics; 0 = off.",
)
@_HEALTH_PORT
@click.option(
    "--workers", type=click.IntRange(1, 256), default=8, show_default=True, help="Services reconciled at the same time."
)
@click.option(
    "--scaling-seconds",
    type=click.IntRange(1, 300),
    default=15,
    show_default=True,
    help="How often the queues of services with targetQueueSeconds are read.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to log.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to log."
)
@click.option(
    "--keep-foreign",
    "exempt_managers",
    multiple=True,
    metavar="MANAGER",
    help="Field manager (a sidecar injector) whose containers and volumes in our Deployments are left alone.",
)
@_ALLOW_HOST_PATH
@_RUNTIME_IMAGE
@_proxy_options
def run(**options: Any) -> None:
    """Watch RerankerServices and keep what they ask for in place."""
    from reranker_operator.run import Options, serve  # noqa: PLC0415 kopf takes a second to import

    defaults = replace(_defaults(options), namespace=options["lease_namespace"])
    sys.exit(serve(Options(defaults=defaults, **options)))


@main.command()
@click.argument("service", metavar="NAMESPACE/NAME")
@click.option("--operator-namespace", default="reranker-system", show_default=True, help="Where the operator runs.")
@click.option(
    "--tail", type=click.IntRange(0, 1000), default=50, show_default=True, help="Last lines of each container's log."
)
@click.option("--context", help="Context of the kubeconfig; default: its current one.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write the report into; default: stdout.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    metavar="FILE.tar.gz",
    help="Write the report with every object, log and metric it is made from, for a bug report.",
)
def diagnose(service: str, output: Path | None, **options: Any) -> None:
    """Tell why a service is not Ready: its state, children, pods, events, logs and metrics, without secrets.

    Reads with the rights of the kubeconfig that KUBECONFIG names, and says what they do not cover.
    """
    if (named := re.fullmatch(f"({_NAME})/({_NAME})", service)) is None:
        _fail(f"diagnose {service!r}: expected NAMESPACE/NAME, such as search/docs")
    if not re.fullmatch(_NAME, options["operator_namespace"]):
        _fail(f"--operator-namespace {options['operator_namespace']!r}: not the name of a namespace")
    for flag, file in (("--output", output), ("--archive", options["archive"])):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            _fail(f"{flag} {file}: not a file in a directory that exists")
    from reranker_operator.diagnose import DiagnoseError, Request  # noqa: PLC0415 the client takes a second to import
    from reranker_operator.diagnose import diagnose as made  # noqa: PLC0415
    from reranker_operator.diagnose.files import write_private  # noqa: PLC0415

    try:
        report = asyncio.run(made(Request(namespace=named[1], name=named[2], **options)))
        if output is not None:
            write_private(output, report.encode())
    except (DiagnoseError, OSError) as error:
        _fail(str(error))
    if output is None:
        # A terminal that cannot show a character of a log still shows the rest.
        click.echo(report.encode(sys.stdout.encoding or "utf-8", "replace"), nl=False)
    for file in filter(None, (output, options["archive"])):
        click.echo(f"reranker-operator: wrote {file}", err=True)


@main.command()
@click.option("--live", is_flag=True, help="Ask whether it is alive, not whether it is ready.")
@_HEALTH_PORT
def health(*, live: bool, health_port: int) -> None:
    """Ask the operator in this container whether it is ready: exit status 0 or 1. For HEALTHCHECK."""
    from reranker_operator.health_check import ask  # noqa: PLC0415

    if not health_port:
        _fail("--health-port 0: the operator serves no health, so there is nothing to ask")
    well, told = ask(health_port, live=live)
    click.echo(told, err=not well)
    sys.exit(0 if well else 1)


def _fail(message: str) -> NoReturn:
    click.echo(f"reranker-operator: {message}", err=True)
    sys.exit(2)
