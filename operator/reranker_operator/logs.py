"""Logging of the operator: one line a record, for people or as JSON."""

import datetime
import json
import logging
import sys


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (service := getattr(record, "service", None)) is not None:
            line["service"] = service
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(level: str, how: str) -> None:
    """Log to stderr at `level` (debug, info, warning, error), as text or json."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if how == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        # kopf tells of each resource it begins to watch; that is ours to say.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        # It warns that it leaves signals alone, which is what its thread is for.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
