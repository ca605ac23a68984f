"""`helm test`: within a minute an operator holds its Lease, and the API server serves RerankerServices.

Arguments: the release's namespace, the name of its Lease, then the namespaces that are seen to; none: all. It runs in a
pod of the operator's image, with the operator's rights.
"""

import datetime
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOST = os.environ["KUBERNETES_SERVICE_HOST"]
SERVER = f"https://{f'[{HOST}]' if ':' in HOST else HOST}:{os.environ['KUBERNETES_SERVICE_PORT']}"
SECONDS = 60
own, lease, *watched = sys.argv[1:]


def get(path: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object, or the list, at a path of the API; `default`, where one is given and nothing is there."""
    token = (ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(SERVER + path, headers={"Authorization": f"Bearer {token}"})
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND and default is not None:
            return default
        sys.exit(f"GET {path}: {error.code}: {error.read().decode(errors='replace')[:500]}")


for namespace in watched or [""]:
    part = f"/namespaces/{namespace}" if namespace else ""
    found = get(f"/apis/reranking.dev/v1alpha1{part}/rerankerservices?limit=500")["items"]
    print(f"{namespace or 'the cluster'}: {len(found)} RerankerServices")

began = time.monotonic()
while True:
    spec = get(f"/apis/coordination.k8s.io/v1/namespaces/{own}/leases/{lease}", {}).get("spec", {})
    renewed = datetime.datetime.fromisoformat(spec.get("renewTime") or "1970-01-01T00:00:00+00:00")
    age = (datetime.datetime.now(datetime.UTC) - renewed).total_seconds()
    if spec.get("holderIdentity") and age < spec.get("leaseDurationSeconds", 15):
        print(f"{spec['holderIdentity']} leads; it renewed its Lease {age:.0f} s ago")
        break
    if time.monotonic() - began > SECONDS:
        sys.exit(f"no operator holds Lease {own}/{lease}: look at the logs of the operator's pods")
    time.sleep(1)
