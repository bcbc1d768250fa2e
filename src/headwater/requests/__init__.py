"""One request's way to its stream: parse, resolve, claim, begin. The same for every host."""
