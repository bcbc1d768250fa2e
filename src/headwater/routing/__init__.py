"""Who generates: from a model's name to one source, with retries, breakers, hedging, fallbacks."""
