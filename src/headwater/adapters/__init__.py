"""Hosts: where a stream meets the server that sends it."""
