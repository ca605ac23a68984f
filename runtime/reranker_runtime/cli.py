"""`reranker-runtime serve | verify | rank | fetch | health`. Starts at once: torch and the server are imported late.

Exit codes: 0 done, 2 the person or the model must change something (one line says what), 1 a fault of this program, or
of a network or volume that may have none the next time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from reranker_runtime import version
from reranker_runtime.errors import RerankerError, SettingsError

if TYPE_CHECKING:  # imported where used: verify must start at once
    from reranker_runtime.engine.rows import Scores
    from reranker_runtime.settings import Settings

BAD_INPUT: Final = 2
DIRECTORY: Final = click.Path(path_type=Path, readable=False)  # verify reports that itself, as JSON


class Group(click.Group):
    """Turns our errors into one line and exit code 2; a stop by the person into silence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RerankerError as error:
            click.echo(one_line(error), err=True)
            ctx.exit(BAD_INPUT)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except ModuleNotFoundError as error:
            needed = "pip install 'reranker-operator[runtime]'"
            click.echo(f"error: the Python package {error.name} is not installed: {needed}", err=True)
            ctx.exit(BAD_INPUT)
        except Exception as error:
            if os.environ.get("NIM_LOG_LEVEL", "").lower() == "debug":
                raise
            name, text = type(error).__name__, (str(error).splitlines() or [""])[0]
            click.echo(f"error: unexpected {name}: {text}; NIM_LOG_LEVEL=debug shows where", err=True)
            ctx.exit(1)


def one_line(error: RerankerError) -> str:
    """What goes to stderr; a name with a line break in it does not make two lines."""
    return "error: " + " ".join(error.message.splitlines())


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version=version(), prog_name="reranker-runtime")
def main() -> None:
    """Rank passages by relevance to a query, behind NVIDIA NeMo Retriever Reranking NIM's HTTP API.

    Models are local directories in safetensors format. Nothing but `fetch` downloads anything.
    """
    # Libraries that would ask a model hub are told not to, whatever the environment says.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The flags that serve and rank share."""
    for option in (
        click.option("--max-tokens", type=int, help="Tokens of one sequence.  [NIM_PIPELINE_MAX_SEQ_LEN]"),
        click.option("--device", help="auto, cpu or cuda.  [RERANKER_DEVICE]"),
        click.option("--precision", help="auto, fp32, bf16 or fp16.  [NIM_PRECISION]"),
        click.option("--model", "model_path", type=DIRECTORY, help="The model directory.  [NIM_MODEL_PATH]"),
    ):
        command = option(command)
    return command


@main.command()
@model_options
@click.option("--name", "served_names", help="Names that clients ask for, by comma.  [NIM_SERVED_MODEL_NAME]")
@click.option("--host", help="Address to listen on.  [NIM_BIND_ADDR]")
@click.option("--port", type=int, help="API port.  [NIM_HTTP_API_PORT]")
@click.option("--internal-port", type=int, help="Health and metrics; 0 is off.  [RERANKER_INTERNAL_PORT]")
def serve(**flags: Any) -> None:
    """Serve a model over HTTP until SIGTERM.

    Every setting is an environment variable too; flags win.
    """
    import logging  # noqa: PLC0415

    from reranker_runtime import logs  # noqa: PLC0415
    from reranker_runtime.settings import unknown_variables  # noqa: PLC0415

    settings = read(**flags)
    settings.require_model()
    logs.configure(settings)
    for name in unknown_variables(os.environ):
        logging.getLogger(__name__).warning("%s is not known here and changes nothing", name)
    from reranker_runtime.engine.cpus import usable_cpus  # noqa: PLC0415

    os.environ.setdefault("RAYON_NUM_THREADS", str(usable_cpus()))  # the tokenizer's threads; read once, at its start
    from reranker_runtime.http.server import run  # noqa: PLC0415

    code = 0
    try:
        run(settings)
    except RerankerError as error:
        click.echo(one_line(error), err=True)
        code = BAD_INPUT
    leave(code)


@main.command()
@click.option("--live", is_flag=True, help="Ask whether it is alive, not whether it is ready.")
@click.option("--host", help="Address that the server listens on.  [NIM_BIND_ADDR]")
@click.option("--port", type=int, help="API port, asked where the internal one is off.  [NIM_HTTP_API_PORT]")
@click.option("--internal-port", type=int, help="Internal port; 0 is off.  [RERANKER_INTERNAL_PORT]")
def health(*, live: bool, **flags: Any) -> None:
    """Ask the server in this container whether it is ready: exit code 0 or 1.

    For HEALTHCHECK. It reads the settings that serve reads; flags that serve was given must be given here too.
    """
    from reranker_runtime.health import ask  # noqa: PLC0415

    well, told = ask(read(**flags), live=live)
    click.echo(told, err=not well)
    if not well:
        raise click.exceptions.Exit(1)


def leave(code: int) -> NoReturn:
    """End at once. The loader may still be importing torch in its thread, which the usual way out would wait for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def read(**flags: Any) -> Settings:
    """Settings from the environment and flags, each flag by the rules of its variable."""
    from reranker_runtime.settings import read_settings  # noqa: PLC0415

    return read_settings(os.environ, **flags)


@main.command()
@click.option("--quick", is_flag=True, help="Read sizes and headers only; report no digest.")
@click.option("--digest", "expected", default="", metavar="sha256:...", help="Refuse any other files.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the same line to this file too.")
@click.argument("directory", type=DIRECTORY)
def verify(*, directory: Path, quick: bool, expected: str, report: Path | None) -> None:
    """Say in one line of JSON whether DIRECTORY may be served, and what is in it."""
    from reranker_runtime.artifacts.digest import FORM  # noqa: PLC0415
    from reranker_runtime.artifacts.verify import one_line as report_line  # noqa: PLC0415
    from reranker_runtime.artifacts.verify import verify as check  # noqa: PLC0415

    if expected and not FORM.fullmatch(expected):
        raise SettingsError(f"--digest {expected}: a digest is sha256: and 64 hexadecimal digits")
    if expected and quick:
        raise SettingsError("--digest needs every byte read and --quick reads headers only: give one of them")
    result = check(directory, quick=quick, expected=expected)
    tell(report_line(result), report)
    if not result["ok"]:
        raise click.exceptions.Exit(BAD_INPUT)


def tell(line: str, report: Path | None) -> None:
    """Print the line, and write it to the report too."""
    click.echo(line)
    if report is not None:
        try:
            report.write_text(line + "\n")
        except OSError as error:
            raise SettingsError(f"--report {report} cannot be written: {error.strerror}") from error


@main.command()
@click.option("--repository", required=True, metavar="OWNER/NAME", help="The model's repository.")
@click.option("--revision", required=True, metavar="COMMIT", help="Its commit, all 40 hexadecimal digits.")
@click.option(
    "--endpoint",
    envvar="HF_ENDPOINT",
    default="https://huggingface.co",
    show_default=True,
    show_envvar=True,
    help="The hub.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the last line to this file too.")
@click.option(
    "--retries", type=click.IntRange(0, 100), default=5, show_default=True, help="Tries after one that brought nothing."
)
@click.argument("cache", metavar="CACHE_DIR", type=DIRECTORY)
def fetch(*, cache: Path, repository: str, revision: str, endpoint: str, report: Path | None, retries: int) -> None:
    """Download a model into CACHE_DIR/OWNER--NAME/COMMIT, and say in one line of JSON how that went.

    What is there is left alone; what was cut goes on. HF_TOKEN, HTTP_PROXY, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE
    are honoured. Exit code 1: another try may help; 2: not before something is changed.
    """
    import signal  # noqa: PLC0415

    from reranker_runtime import logs  # noqa: PLC0415
    from reranker_runtime.artifacts.verify import one_line as report_line  # noqa: PLC0415
    from reranker_runtime.fetch.fetch import fetch as download  # noqa: PLC0415

    logs.configure(read())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container's first process ignores it otherwise
    token = os.environ.get("HF_TOKEN", "")
    result, passing = download(cache, repository, revision, endpoint=endpoint, token=token, retries=retries)
    tell(report_line(result), report)
    if not result["ok"]:
        raise click.exceptions.Exit(1 if passing else BAD_INPUT)


@main.command()
@model_options
@click.option("--query", "-q", required=True, help="What the passages are ranked by.")
@click.option("--file", "-f", type=click.Path(path_type=Path), help="Passages, one a line; - is standard input.")
@click.option("--top", type=click.IntRange(min=1), help="Show only the best.")
@click.option("--truncate", type=click.Choice(["END", "NONE"], case_sensitive=False), default="END", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print what /v1/ranking answers.")
@click.argument("passages", nargs=-1)
def rank(
    *,
    query: str,
    file: Path | None,
    passages: tuple[str, ...],
    top: int | None,
    truncate: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Rank PASSAGES (or lines of --file, or of standard input) by relevance to a query."""
    settings = read(**flags)
    settings.require_model()
    texts = list(passages) + read_passages(file, given=bool(passages))
    if not texts:
        raise SettingsError("no passages: give them as arguments, with --file FILE, or one a line on standard input")
    for text in (query, *texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(f"{text!a} is not UTF-8 text") from error
    scores = score(settings, query, texts, truncate.upper())
    order = sorted(range(len(texts)), key=lambda n: (-scores.logits[n], n))[:top]
    show = print_json if as_json else partial(print_table, texts)
    show(scores, order)
    if scores.plan.truncated and not as_json:
        click.echo(f"{scores.plan.truncated} of {len(texts)} passages were cut at the model's limit", err=True)


def read_passages(file: Path | None, *, given: bool) -> list[str]:
    """Lines of the file, or of standard input where neither passages nor a file were given; blank ones are skipped."""
    try:
        if file is None:
            if given or sys.stdin.isatty():
                return []
            text = sys.stdin.buffer.read().decode()
        else:
            text = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode()
    except OSError as error:
        raise SettingsError(f"--file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file or 'standard input'} is not UTF-8 text ({error.reason})") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def score(settings: Settings, query: str, texts: list[str], truncate: str) -> Scores:
    """Load the model, rank once."""
    from reranker_runtime.artifacts.digest import check_digest, digest  # noqa: PLC0415
    from reranker_runtime.engine.rows import Truncate  # noqa: PLC0415
    from reranker_runtime.models.registry import describe  # noqa: PLC0415

    blueprint = describe(settings.require_model())  # before torch: what is wrong is told at once
    blueprint.effective_limit(settings.max_tokens)
    if settings.model_digest:
        check_digest(blueprint.directory, settings.model_digest, digest(blueprint.directory, blueprint.files))
    from reranker_runtime.engine.pool import Pool  # noqa: PLC0415
    from reranker_runtime.engine.scorer import Scorer  # noqa: PLC0415

    pool = Pool(Scorer(blueprint, settings), settings.max_rows)
    try:
        return pool.rank(query, texts, Truncate(truncate))
    finally:
        pool.end()


def print_json(scores: Scores, order: list[int]) -> None:
    """The body that /v1/ranking answers with."""
    import json  # noqa: PLC0415

    tokens = scores.plan.tokens
    rankings = [{"index": n, "logit": scores.logits[n]} for n in order]
    click.echo(json.dumps({"rankings": rankings, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}))


def print_table(texts: list[str], scores: Scores, order: list[int]) -> None:
    """For people: best first, each passage on one line."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    logits = {n: f"{scores.logits[n]:.4f}" for n in order}
    # Room beside the numbers: left to itself, the table would give a long passage theirs.
    room = max(20, console.width - len("rank") - max(map(len, logits.values())) - 4)
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("logit", justify="right")
    table.add_column("passage", no_wrap=True)
    for place, n in enumerate(order, start=1):
        passage = Text(" ".join(texts[n].split()))
        passage.truncate(room, overflow="ellipsis")
        table.add_row(str(place), logits[n], passage)
    console.print(table)
