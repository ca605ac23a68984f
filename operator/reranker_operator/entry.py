"""The console script: the command line, or one line that says which packages it needs."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from reranker_operator.cli import main as command_line  # noqa: PLC0415
    except ModuleNotFoundError as error:
        needed = "pip install 'reranker-operator[operator]'"
        print(f"reranker-operator: the Python package {error.name} is not installed: {needed}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    command_line()
