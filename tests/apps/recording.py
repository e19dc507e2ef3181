"""Notes each request that the app is given in the file `seen`, and answers with its target."""

import json
import os
from pathlib import Path

SEEN = Path(os.environ["TEST_DIR"]) / "seen"


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    seen = {
        "marker": environ.get("HTTP_X_MARKER"),
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "host": environ.get("HTTP_HOST"),
        "port": environ["REMOTE_PORT"],
        "body": body.decode("latin-1"),
    }
    # One write, appended: whole also beside those of other workers.
    with SEEN.open("ab", buffering=0) as file:
        file.write(json.dumps(seen).encode() + b"\n")
    answer = f"{environ['RAW_URI']}\n".encode("latin-1")
    fields = [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))]
    start_response("200 OK", fields)
    return [answer]
