"""`reranker-operator diagnose`: why is this service not Ready? Read with the rights of whoever asks.

reader -> gather -> redact -> report, archive: nothing past `redact` has seen a secret.
"""

from reranker_operator.diagnose.command import DiagnoseError, Request, diagnose

__all__ = ["DiagnoseError", "Request", "diagnose"]
