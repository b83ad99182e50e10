"""What a request means: its route, its key, its model, the few fields of its body that the gateway acts on.

``routes`` is the whole surface on one screen; ``pipeline`` is what the wire calls.
"""
