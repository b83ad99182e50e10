"""How many replicas a model needs: by its rule and its demand, or as operators have fixed it."""
