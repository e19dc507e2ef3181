"""What the deployed module `shop` is made of: a version to tell, and trouble to make at import."""

import time

from meeting import meet, note


def make(version, trouble=""):
    """The app that answers with its version, after the trouble asked for."""
    note("imports", version)
    if trouble == "raises":
        raise RuntimeError("this code is broken on purpose")
    if trouble == "hangs":
        meet("import")
    if trouble == "is slow":
        time.sleep(4)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/meet":
            meet(environ["QUERY_STRING"])
        body = version.encode()
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        )
        return [body]

    return app
