"""The command line of `convert`: bad input is one line each on stderr and exit status 2, and nothing is written."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from reranker_operator.api.runtime import Runtime
from reranker_operator.convert.documents import Converted
from reranker_operator.convert.documents import convert as made
from reranker_operator.convert.files import FilesError, write_files
from reranker_operator.convert.model import Wishes
from reranker_operator.manifests import dump

_OTHERS = "others.yaml"


def _model(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    repository, _at, commit = value.partition("@")
    if not repository or not commit:
        raise click.BadParameter(f"{value!r}: expected OWNER/NAME@COMMIT")
    return repository, commit


def _claim(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, str | None] | None:
    if value is None:
        return None
    name, _slash, path = value.partition("/")
    return name, path or None


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb"))
@click.option(
    "--runtime",
    type=click.Choice(["NIM", "Bundled"]),
    default="NIM",
    show_default=True,
    help="NIM: the image stays. Bundled: the project's own runtime takes its place.",
)
@click.option(
    "--hugging-face",
    metavar="OWNER/NAME@COMMIT",
    callback=_model,
    help="With Bundled: the model, of a Hugging Face hub. Default: that of the service's NIMCache.",
)
@click.option(
    "--claim", metavar="CLAIM[/DIRECTORY]", callback=_claim, help="With Bundled: a claim that has the model instead."
)
@click.option(
    "--service",
    "services",
    metavar="NAME",
    multiple=True,
    help="Convert this NIMService, whatever its image is called (repeatable). Default: all whose image ranks.",
)
@click.option("--keep-others", is_flag=True, help="Write documents that are passed over, too, as they are.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Directory to write a file for each service into."
)
@click.option("--force", is_flag=True, help="With --output: write over files that exist.")
@click.option(
    "--strict", is_flag=True, help="Write nothing, and exit with 1, if a field cannot be taken over as it is."
)
def convert(
    files: tuple[Any, ...],
    runtime: str,
    output: Path | None,
    *,
    keep_others: bool,
    force: bool,
    strict: bool,
    **chosen: Any,
) -> None:
    """Turn NIMServices (apps.nvidia.com/v1alpha1) in FILE... ("-": standard input) into RerankerServices.

    A NIMCache that a service names is read for its claim, a NIMPipeline for its rerankers. What becomes of each field
    is in docs/migrate-from-nim-operator.md; standard error names each that cannot be taken over.
    """
    _check(output, runtime, chosen)
    result = made([(_name(each), each) for each in files], Wishes(runtime=Runtime(runtime), **chosen))
    for line in (*result.passed, *result.told, *result.errors):
        click.echo(f"reranker-operator: {line}", err=True)
    if result.errors:
        sys.exit(2)
    if not result.services:
        _fail(f"{', '.join(map(_name, files))}: holds no NIMService that ranks; nothing to convert")
    if strict and result.told:
        click.echo(
            "reranker-operator: --strict: nothing is written, as what is above could not be taken over", err=True
        )
        sys.exit(1)
    others = [each for each in result.others if each] if keep_others else []
    if output is None:
        click.echo(dump([*others, *result.services]), nl=False)
    else:
        _write(output, result, others, force=force)


def _check(output: Path | None, runtime: str, chosen: dict[str, Any]) -> None:
    if output is not None and not output.is_dir():
        raise click.UsageError(f"--output {output}: no such directory; make it first")
    if runtime == "NIM" and (chosen["hugging_face"] or chosen["claim"]):
        raise click.UsageError("--hugging-face and --claim are for --runtime Bundled: NVIDIA's image brings its model")
    if chosen["hugging_face"] and chosen["claim"]:
        raise click.UsageError("give --hugging-face or --claim, and not both")


def _write(output: Path, result: Converted, others: list[Any], *, force: bool) -> None:
    contents = {_file_name(each): dump([each]) for each in result.services}
    if others and _OTHERS in contents:
        _fail(f"--keep-others writes {_OTHERS}, and so does the service that is called others; leave --output out")
    if others:
        contents[_OTHERS] = dump(others)
    try:
        for path in write_files(output, contents, replace=force):
            click.echo(f"reranker-operator: wrote {path}", err=True)
    except FilesError as error:
        _fail(str(error))


def _name(file: Any) -> str:
    name = str(getattr(file, "name", "<stdin>"))
    return "standard input" if name == "<stdin>" else name


def _file_name(service: dict[str, Any]) -> str:
    metadata = service["metadata"]
    return ".".join([*filter(None, [metadata.get("namespace")]), metadata["name"], "yaml"])


def _fail(message: str) -> NoReturn:
    click.echo(f"reranker-operator: {message}", err=True)
    sys.exit(2)
