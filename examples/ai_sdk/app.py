"""The AI SDK's useChat in the browser, Python behind it."""

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from headwater import Headwater, RequestBody

app = FastAPI()
hw = Headwater()

SYSTEM = {"role": "system", "content": "Answer in a few sentences."}


@app.post("/ai/api/chat")
async def chat(request: Request) -> Response:
    body = await request.json()
    body["messages"].insert(0, SYSTEM)
    return hw.response(RequestBody(body), wire="ui")


app.mount("/ai", hw.asgi())  # /ai/api/chat/{id}/stream for GET and DELETE: resume and stop
app.mount("/", StaticFiles(directory="dist", html=True))
