"""The HTTP client of the streaming path: the only room that opens connections to providers.

What a read brought is pushed to the receiver in the read callback itself; nothing between the
socket and the parser waits for a task to be scheduled.
"""

from headwater.upstream.exchange import Exchange, Request, ResponseReceiver
from headwater.upstream.fetch import Fetched, fetch
from headwater.upstream.pool import Pool

__all__ = ["Exchange", "Fetched", "Pool", "Request", "ResponseReceiver", "fetch"]
