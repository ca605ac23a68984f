"""`python -m reranker_runtime`, for images without the script on their path."""

from reranker_runtime.cli import main

main(prog_name="reranker-runtime")
