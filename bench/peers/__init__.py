"""The relays that are measured, one file each; a list for `bench` to go through in turn."""

from __future__ import annotations

from bench.peer import Relay
from bench.peers.direct import Direct
from bench.peers.fastapi import FastAPI
from bench.peers.flask import Flask
from bench.peers.headwater import headwaters
from bench.peers.hono import Hono
from bench.peers.litellm import LiteLLM
from bench.peers.nginx import Nginx
from bench.peers.portkey import Portkey

#: In the order of the tables.
RELAYS: list[Relay] = [
    Direct(),
    Nginx(),
    *headwaters(),
    Portkey(),
    Hono(),
    Flask("gthread"),
    Flask("gevent"),
    FastAPI(),
    LiteLLM(),
]
