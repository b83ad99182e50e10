"""How many replicas a model needs, and the engines that are started and stopped for it."""
