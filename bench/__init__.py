"""`make bench`: what a token costs, next to the relays that people use, measured on the spot."""
