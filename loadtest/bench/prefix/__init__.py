"""How many of the prefix hits that are possible a gateway finds, with simulated engines and recorded conversations."""
