"""For memory and start-up: nothing is imported, so what is measured is the server alone."""


def hello(environ, start_response):
    """The least that an app does."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    return [b"Hello, world!\n"]
