"""The embedded model: its weights, and the engine that serves it.

`pull` fetches the weights, `weights_path`, `available` and `missing` say what is here, and
`Engine` serves it as one more OpenAI-compatible upstream, from a child process on loopback.
"""

from headwater.providers.local.download import pull
from headwater.providers.local.engine import Engine, available, missing
from headwater.providers.local.weights import MODELS, Spec, weights_path

__all__ = ["MODELS", "Engine", "Spec", "available", "missing", "pull", "weights_path"]
