"""What everything else is built of: a request's context, errors, keys, the ticker. It imports nothing of the rest."""
