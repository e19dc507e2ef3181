"""A Falcon app with one JSON route and an argument in its path."""

from __future__ import annotations

import falcon


class Item:
    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        response.media = {
            "id": number,
            "name": "anvil",
            "price": 12.5,
            "tags": ["iron", "heavy"],
        }


app = falcon.App()
app.add_route("/items/{number:int}", Item())
