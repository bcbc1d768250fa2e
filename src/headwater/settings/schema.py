"""Every setting, with its default and its sentence of documentation.

A setting is one annotated field here: its type, its bounds, its default and what `headwater.toml`,
the environment and the documentation call it. `values.CHECKS` holds what a type cannot say, and
`documentation.document()` lists all settings.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

from headwater.errors import ConfigurationError

#: What providers speak that are known here; packages may bring others.
DIALECTS: Final = ("openai", "responses", "anthropic", "gemini", "ollama", "tape")
#: Keys of a provider's table that have another name now.
RENAMED_IN_PROVIDERS: Final = {"wire": "dialect"}
#: Those in which a provider can be given the beginning of its answer.
CONTINUING: Final = ("openai", "anthropic")

#: What `store.prefix` may be. Braces would be a hash tag, `*` and `?` a pattern in an ACL rule.
PREFIX: Final = r"[A-Za-z0-9_.:-]{1,64}"

MIB: Final = 1024 * 1024

# A year: longer is a slip of the pen, and infinity is no deadline that a clock could keep.
_YEAR: Final = 366 * 86_400.0

Seconds = Annotated[float, Meta(gt=0, le=_YEAR)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
#: Bytes: an integer, or a string such as "16 MiB".
Size = Annotated[int, Meta(ge=1, le=2**53, extra={"size": True})]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of settings."""


class ServerSettings(Section, frozen=True):
    """Where the server listens and what it accepts."""

    host: Annotated[str, Meta(description="Address to listen on; beyond loopback wants keys.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    ] = 8000
    workers: Annotated[
        int,
        Meta(
            ge=1, le=1024, description="Processes that serve; more than one wants a shared store."
        ),
    ] = 1
    upstream: Annotated[
        str | None,
        Meta(description="Base URL of an OpenAI-compatible provider, `/v1` included."),
    ] = None
    default_model: Annotated[
        str | None, Meta(description="Model of a request that names none.")
    ] = None
    heartbeat_s: Annotated[
        Seconds, Meta(description="Silence after which a reader is sent a heartbeat, in seconds.")
    ] = 15.0
    drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_YEAR,
            description="How long running streams may go on at shutdown, in seconds.",
        ),
    ] = 30.0
    max_body_bytes: Annotated[Size, Meta(description="Largest request body, in bytes.")] = 10 * MIB
    log_format: Annotated[
        Literal["text", "json"], Meta(description="How entries of the log are written to stderr.")
    ] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least entry that is logged; `info` has a line for every stream."),
    ] = "warning"
    log_upstream_errors: Annotated[
        bool,
        Meta(description="Log how a provider's error begins; it may quote the prompt."),
    ] = False
    max_streams: Annotated[
        Count, Meta(description="Streams that run at once in a process; beyond it, 503.")
    ] = 10_000
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names beside localhost by which browsers may call this server."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins, such as https://app.example.com, whose pages may call."),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks whose X-Forwarded-Proto and -For are believed."),
    ] = ()


class StoreSettings(Section, frozen=True):
    """Where streams are logged and how long they are kept."""

    url: Annotated[
        str,
        Meta(
            description="memory://, sqlite:///relative.db, sqlite:////absolute.db, redis://host/0 "
            "or env:VAR."
        ),
    ] = "memory://"
    prefix: Annotated[
        str, Meta(description="Begins every key and channel in Redis: one for each deployment.")
    ] = "hw"
    ttl_s: Annotated[
        Seconds, Meta(description="How long a stream is kept after its end, in seconds.")
    ] = 3600.0
    max_stream_bytes: Annotated[
        Size,
        Meta(
            description="Largest log of one stream, in bytes; beyond it the stream ends in error."
        ),
    ] = 16 * MIB
    max_bytes: Annotated[
        Size,
        Meta(
            description="Bytes that memory:// holds in all; beyond it the oldest ended streams go."
        ),
    ] = 256 * MIB
    lease_s: Annotated[
        Seconds, Meta(description="How long a dead process keeps its streams, in seconds.")
    ] = 5.0


class TimeoutSettings(Section, frozen=True):
    """How long an upstream may take."""

    connect_s: Annotated[Seconds, Meta(description="To connect to an upstream, in seconds.")] = 5.0
    first_token_s: Annotated[
        Seconds, Meta(description="To the first token of one attempt, in seconds.")
    ] = 60.0
    idle_s: Annotated[
        Seconds, Meta(description="Silence in the middle of a response, in seconds.")
    ] = 60.0
    comments_s: Annotated[
        Seconds, Meta(description="A silence in which only comments arrive, in seconds.")
    ] = 300.0
    total_s: Annotated[Seconds, Meta(description="A response as a whole, in seconds.")] = 600.0


class KeyLimits(Section, frozen=True):
    """What one principal may use, in each process; unset is unlimited."""

    requests_per_minute: Annotated[
        Count | None, Meta(description="Streams that a principal may begin in a minute.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None,
        Meta(description="Tokens, in and out, that a principal may use in a minute."),
    ] = None
    concurrent_streams: Annotated[
        Count | None, Meta(description="Streams that a principal may have running at once.")
    ] = None
    max_output_tokens: Annotated[
        Count | None, Meta(description="Most tokens that one response may be asked for.")
    ] = None


class LimitSettings(KeyLimits, frozen=True):
    """What each principal may use, and how slowly each reader may read."""

    write_timeout_s: Annotated[
        Seconds, Meta(description="Cut a reader whose connection takes nothing for so long.")
    ] = 30.0


class KeySettings(Section, frozen=True):
    """One caller, and what its key may do. A string in its place is the `key`."""

    key: Annotated[
        str, Meta(description='"env:VAR" or "sha256:HEX" of a key of at least 16 characters.')
    ]
    models: Annotated[
        tuple[str, ...] | None,
        Meta(description='Globs of the model names it may ask for, such as "gpt-*"; unset, all.'),
    ] = None
    limits: Annotated[
        KeyLimits | None,
        Meta(description="Its own limits; those that are not set here are those of [limits]."),
    ] = None
    admin: Annotated[bool, Meta(description="Whether it may read /metrics.")] = False


#: The tables in whose place a string may stand, and the member that it is.
SHORTHANDS: Final[dict[type[Section], str]] = {KeySettings: "key"}


class AuthSettings(Section, frozen=True):
    """Who may call."""

    keys: Annotated[
        dict[str, KeySettings],
        Meta(description='Callers: NAME = "env:VAR" or "sha256:HEX", or a table; see below.'),
    ] = {}
    anonymous: Annotated[
        bool,
        Meta(description="Without keys, take every caller for the local one; see --no-auth."),
    ] = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a provider is reached. `api_key_env` None: no key is needed."""

    base_url: str
    api_key_env: str | None = None
    dialect: str = "openai"
    continues: bool = False
    continuation: dict[str, Any] | None = None
    echoes: bool = True
    renames: dict[str, str] = {}
    members: tuple[str, ...] = ()


class ProviderSettings(Section, frozen=True):
    """A provider of the user's own, or what differs in one of the catalogue. None: not given."""

    base_url: Annotated[
        str | None,
        Meta(description="Base URL of its API, version included; of tapes, their folder."),
    ] = None
    api_key_env: Annotated[
        str | None,
        Meta(description="Environment variable that holds its key; absent, none is needed."),
    ] = None
    dialect: Annotated[str | None, Meta(description="API that it speaks; by default openai.")] = (
        None
    )
    continues: Annotated[
        bool | None,
        Meta(description="Whether it can go on from a given assistant text; false when not said."),
    ] = None
    continuation: Annotated[
        dict[str, Any] | None,
        Meta(description="What it is sent besides to go on; messages.NAME is of the last message."),
    ] = None
    echoes: Annotated[
        bool | None,
        Meta(description="Whether it may repeat that text first; true when not said."),
    ] = None
    renames: Annotated[
        dict[str, str] | None,
        Meta(description='OpenAI\'s names of members = its own; "" for one that it refuses.'),
    ] = None

    members: Annotated[
        tuple[str, ...] | None,
        Meta(description='Members of a request that it is sent besides the known ones; "*": all.'),
    ] = None

    def endpoint(self, name: str, built_in: Endpoint | None = None) -> Endpoint:
        """Lay the table over the catalogue's entry of the same `name`.

        A table with a base_url stands by itself, so that a catalogue provider's key is never sent
        to a URL it does not belong to unless the table names that key. Without one, it changes only
        what it gives. `ConfigurationError` when there is nothing to change.
        """
        if self.base_url is None and built_in is None:
            raise ConfigurationError(f"[providers.{name}] lacks base_url")
        base = (
            built_in
            if self.base_url is None and built_in
            else Endpoint(base_url=self.base_url or "")
        )
        endpoint = Endpoint(
            base_url=base.base_url,
            api_key_env=base.api_key_env if self.api_key_env is None else self.api_key_env,
            dialect=base.dialect if self.dialect is None else self.dialect,
            continues=base.continues if self.continues is None else self.continues,
            continuation=base.continuation if self.continuation is None else self.continuation,
            echoes=base.echoes if self.echoes is None else self.echoes,
            renames={**base.renames, **(self.renames or {})},
            members=base.members + (self.members or ()),
        )
        if endpoint.continues and endpoint.dialect not in CONTINUING:
            raise ConfigurationError(
                f"[providers.{name}] continues: only the dialects {' and '.join(CONTINUING)} can "
                f"continue a given text, not {endpoint.dialect}"
            )
        return endpoint


class HedgeSettings(Section, frozen=True):
    """When a second attempt may race a slow first one."""

    after: Annotated[
        str,
        Meta(
            description="Percentile of first tokens to wait for, or a number of seconds.",
            extra={"seconds": True},
        ),
    ] = "p95"
    max_extra: Annotated[
        float, Meta(gt=0, le=1, description="Largest share of requests that may be asked twice.")
    ] = 0.1


class ModelSettings(Section, frozen=True):
    """A model name of one's own and the providers that serve it."""

    route: Annotated[
        tuple[str, ...],
        Meta(description='"provider/model" entries, tried in order until a first token.'),
    ]
    hedge: Annotated[
        HedgeSettings | None, Meta(description="Race a second attempt when the first is slow.")
    ] = None


class Settings(Section, frozen=True):
    """All settings, section by section."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    providers: dict[str, ProviderSettings] = {}
    models: dict[str, ModelSettings] = {}


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Map field names to annotated types."""
    return typing.get_type_hints(struct, include_extras=True)


class PlainType(NamedTuple):
    """A field's type without `Annotated` and `| None`, and what the annotations say of it."""

    type: Any
    metas: list[Meta]


def plain(annotated: Any) -> PlainType:
    """The plain type of an annotated one."""
    metas: list[Meta] = []
    while True:
        origin = get_origin(annotated)
        if origin is Annotated:
            metas += [m for m in annotated.__metadata__ if isinstance(m, Meta)]
            annotated = annotated.__origin__
        elif origin in (typing.Union, types.UnionType):
            (annotated,) = (a for a in get_args(annotated) if a is not type(None))
        else:
            return PlainType(annotated, metas)
