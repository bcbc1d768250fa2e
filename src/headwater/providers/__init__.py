"""Who generates: each turns what an upstream sends into events."""
