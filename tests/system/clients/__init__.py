"""The clients whose compatibility is tried: `run.mjs` has those in Node, `python` the others."""
