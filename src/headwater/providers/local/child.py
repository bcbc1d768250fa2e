"""The child process: llama.cpp's own server on one loopback port.

It is run by its path, not as a module, so that it imports nothing of Headwater and needs none of
its environment. It reads its settings as one line of JSON on stdin, answers one line of JSON
`{"url": …}` on stdout once the model is loaded, and lives until stdin ends: however the parent
dies, the kernel closes that pipe.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin ends."""
    # Ctrl-C and a supervisor's SIGTERM go to the whole process group: streams that the parent is
    # still draining would lose their model. The parent ends this process by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answer = claim_stdout()
    settings = json.loads(sys.stdin.buffer.readline() or b"null")
    if settings is None:
        return
    die_with(settings["parent"])
    server = serve(settings)
    os.write(answer, json.dumps({"url": server.listening_address}).encode() + b"\n")
    while sys.stdin.buffer.read(1):
        pass
    # Leaving in the ordinary way waits for every answer that is still being generated.
    os._exit(0)


def claim_stdout() -> int:
    """Return a descriptor for our answer, and turn everyone else's stdout into stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies, where the kernel can.

    stdin alone leaves two gaps: the time in which the model loads, and a fork of the parent that
    still holds the pipe's other end.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def serve(settings: dict[str, Any]) -> Any:
    """Load the model and start llama.cpp's server; returns when it answers."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["weights"]
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings["threads"]
        # Spinning between tokens would take the core that relays them.
        cpu.poll = 0
    for name, value in preferences(settings["name"]).items():
        # Names come and go between versions of xllamacpp, and none of these is needed to work.
        if hasattr(params, name):
            setattr(params, name, value)
    return xllamacpp.Server(params)


def preferences(name: str) -> dict[str, Any]:
    """Return what we want otherwise than llama.cpp's defaults: quiet, closed and small."""
    return {
        "model_alias": {name},
        "hostnames": ["127.0.0.1"],
        "hostname": "127.0.0.1",
        "port": 0,
        "offline": True,
        # One level more, and the log quotes requests that cannot be parsed.
        "verbosity": 1,
        "ui": False,
        "endpoint_slots": False,
        "cors_origins": "",
        # The default keeps up to 8 GiB of past prompts in memory.
        "cache_ram_mib": 0,
        "cache_idle_slots": False,
        # With one common context a long conversation makes those beside it fail.
        "kv_unified": False,
        # Both cost a third of the start each, and fit the model to a GPU's memory.
        "warmup": False,
        "fit_params": False,
    }


if __name__ == "__main__":
    main()
