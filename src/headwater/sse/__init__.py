"""Server-Sent Events without I/O: bytes in, messages out, and back.

The WHATWG HTML standard, section 9.2 "Server-sent events", is the source of every rule here.
"""

from headwater.sse.decoder import Decoder, Message, SSEError
from headwater.sse.encoder import encode, encode_comment

__all__ = ["Decoder", "Message", "SSEError", "encode", "encode_comment"]
