"""LiteLLM's proxy: no database, no key, one worker, its recommendations for production."""

from __future__ import annotations

from bench.peer import Ask, Command, House, Relay, Upstreams, chat_body
from bench.programs import bin_of, install_python

_MODEL = """\
  - model_name: "{name}/*"
    litellm_params:
      model: "openai/*"
      api_base: "{url}"
      api_key: bench
"""
_SETTINGS = """\
litellm_settings:
  set_verbose: false
  request_timeout: 600
  telemetry: false
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""


class LiteLLM(Relay):
    name = "LiteLLM proxy"

    def install(self, house: House) -> str:
        return install_python(house, "litellm", ["litellm", "openai", "uvicorn"])

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        config = house.scratch(f"litellm-{port}") / "config.yaml"
        models = [_MODEL.format(name=name, url=url) for name, url in upstreams.urls.items()]
        config.write_text("model_list:\n" + "".join(models) + _SETTINGS)
        arguments = f"--host 127.0.0.1 --port {port} --num_workers 1 --config"
        # Its list of models is otherwise fetched from the network at every start.
        environment = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "NO_DOCS": "True",
        }
        return Command(
            [bin_of(house, "litellm", "litellm"), *arguments.split(), str(config)],
            {**upstreams.environment(), **environment},
        )

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask("/v1/chat/completions", chat_body(f"{upstream}/{model}"))
