"""A React page, and the answers that it shows as they come."""

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from headwater import Headwater

app = FastAPI()
hw = Headwater()


class Prompt(BaseModel):
    prompt: str


@app.post("/stream")
async def stream(body: Prompt) -> Response:
    return hw.response(body.prompt, wire="native")


app.mount("/ai", hw.asgi())  # /ai/v1/streams/{id} for GET and DELETE: resume and stop
app.mount("/", StaticFiles(directory="dist", html=True))
