"""An app that keeps memory: so many mebibytes a request, `/leak?8`."""

import os

import toolbox

KEPT = []


def app(environ, start_response):
    if environ["PATH_INFO"] != "/leak":
        return toolbox.app(environ, start_response)
    # Random content, so that no page is shared with another.
    KEPT.append(os.urandom(int(environ["QUERY_STRING"]) << 20))
    return toolbox.text(start_response, b"%d" % len(KEPT))
