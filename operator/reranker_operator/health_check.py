"""`reranker-operator health`: asks the operator of this container over loopback, as its image has no curl."""

import http.client

SECONDS = 3.0


def ask(port: int, *, live: bool) -> tuple[bool, str]:
    """Whether the operator at this port is ready (or alive), and one line that says so or why not."""
    path = "/healthz" if live else "/readyz"
    where = f"127.0.0.1:{port}{path}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = " ".join(answer.read().decode(errors="replace").split())
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {where}: {error}; is `reranker-operator run` running, with that --health-port?"
    finally:
        connection.close()
    return answer.status == http.HTTPStatus.OK, f"{where} answered {answer.status}: {text}"
