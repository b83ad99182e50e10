"""One request between its client and an engine: admitted, sent to a replica, relayed, and released."""
