"""The same relay in Flask, under gunicorn: one process with threads, or with greenlets."""

from __future__ import annotations

from bench.peer import Ask, Command, House, Relay, Upstreams, prompt_body
from bench.programs import APPS, bin_of, install_python

# A stream holds a thread or a greenlet for as long as it lasts.
_WORKERS = {
    "gthread": "--worker-class gthread --threads 600 --keep-alive 75",
    "gevent": "--worker-class gevent --worker-connections 4000 --keep-alive 75",
}


class Flask(Relay):
    def __init__(self, worker: str) -> None:
        self.name = f"Flask + gunicorn {worker} + openai"
        self._worker = worker

    def install(self, house: House) -> str:
        names = ["flask", "gunicorn", "openai", *(["gevent"] if self._worker == "gevent" else [])]
        return install_python(house, "relays", names)

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        gunicorn = [bin_of(house, "relays", "gunicorn"), "flask_app:app", "--chdir", str(APPS)]
        listen = f"--bind 127.0.0.1:{port} --workers 1 --backlog 4096 --log-level warning"
        return Command(
            [*gunicorn, *listen.split(), *_WORKERS[self._worker].split()], upstreams.environment()
        )

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask(f"/{upstream}/stream", prompt_body(model))
