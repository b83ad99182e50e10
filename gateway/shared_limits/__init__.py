"""Several nodes share the limits of keys and groups through Redis, of which no request knows."""
