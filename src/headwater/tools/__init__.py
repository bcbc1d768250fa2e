"""Tools beside the streaming path: the doctor, recording of tapes. No other room imports them."""
