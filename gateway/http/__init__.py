"""The wire, on both sides of the gateway: callbacks, bytes, back-pressure. Nothing here knows what a model is."""
