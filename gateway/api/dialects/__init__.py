"""How each family of endpoints speaks: its streams, its usage, its errors."""
