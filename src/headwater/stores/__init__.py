"""Where logs are kept: bytes under positions, appended in one checked step."""
