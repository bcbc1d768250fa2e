"""What a package adds to Headwater by being installed."""
