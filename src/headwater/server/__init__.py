"""The server: routes, guards, the page, sockets."""
