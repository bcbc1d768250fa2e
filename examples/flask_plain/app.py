"""Tokens on a page: Flask, one route, and the fetch loop that everyone writes."""

from flask import Flask, Response, request

from headwater import Headwater
from headwater.adapters.flask import mount, stream_response

app = Flask(__name__)
hw = Headwater()
mount(app, hw, prefix="/ai")


@app.post("/stream")
def stream() -> Response:
    return stream_response(hw, request.json["prompt"])


@app.get("/")
def page() -> Response:
    return app.send_static_file("index.html")
