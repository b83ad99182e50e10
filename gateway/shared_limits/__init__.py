"""What keys and groups have used of their limits: reset by command, and shared between nodes, unknown to requests."""
