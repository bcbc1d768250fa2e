"""An answer on a page, as it comes: a route that streams, and those to resume and stop it."""

from flask import Flask, Response, request

from headwater import Headwater
from headwater.adapters.flask import mount, stream_response

app = Flask(__name__)
hw = Headwater()
mount(app, hw, prefix="/ai")  # /ai/v1/streams/{id} for GET and DELETE, /ai/headwater.js


@app.post("/stream")
def stream() -> Response:
    return stream_response(hw, request.json["prompt"])


@app.get("/")
def page() -> Response:
    return app.send_static_file("index.html")
