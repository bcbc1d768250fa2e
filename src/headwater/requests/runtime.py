"""What serves the streams of one event loop: store, hub, models and connections, joined once."""

from __future__ import annotations

from collections.abc import Mapping

from headwater import stores
from headwater.generation import GenerationRequest
from headwater.observe import Observer
from headwater.requests.limits import Limits
from headwater.requests.rights import Rights
from headwater.routing.models import Models
from headwater.routing.recovery import Recovery
from headwater.settings import Settings
from headwater.stores.base import Record
from headwater.streams import Hub
from headwater.streams.ending import EndCallback
from headwater.upstream import Pool


class Runtime:
    """Made inside a running event loop, and belongs to it."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        observer: Observer | None = None,
        on_end: EndCallback | None = None,
    ) -> None:
        self.settings = settings
        self.pool = Pool(connect_s=settings.timeouts.connect_s)
        self.models = Models(settings, self.pool, environ)
        self.store = stores.open(settings, environ)
        self.hub = Hub(settings, self.store, self._recover, observer, on_end)
        self.rights = Rights(settings)
        self.limits = Limits(self.rights.limits)
        self.turns = self.hub.turns

    async def _recover(self, record: Record, asked: GenerationRequest) -> Recovery:
        """What continues the stream of another process."""
        choice = await self.models.resolve(record.model)
        return choice.recovery(asked)

    async def aclose(self) -> None:
        """End what still runs, stop what was started, close what is open."""
        await self.hub.aclose()
        await self.models.aclose()
        await self.pool.aclose()
        await self.store.aclose()
