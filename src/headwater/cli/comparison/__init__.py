"""What `headwater compare` is made of: runs, their statistics, and the ways to show them."""
