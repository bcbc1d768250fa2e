"""Headwater: the streaming layer for AI products."""
