"""How many labels a good choice of texts saves: active learning, simulated on texts whose labels are known."""
