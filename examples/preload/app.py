"""A shop whose catalogue is read at import and fills some 60 MB: what `preload` is for."""

import json

PRODUCTS = {
    f"/products/{number}": {
        "name": f"product {number}",
        "price": number * 7 % 9973,
        "sizes": [f"{size}-{number % 89}" for size in ("s", "m", "l")],
    }
    for number in range(100_000)
}


def app(environ, start_response):
    product = PRODUCTS.get(environ["PATH_INFO"])
    status, found = ("200 OK", product) if product else ("404 Not Found", None)
    body = json.dumps(found).encode() + b"\n"
    start_response(
        status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]
