"""How a stream is spoken: requests in, frames out. Pure."""
