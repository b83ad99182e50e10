"""The models in force: replicas, pools with their policies and admission, and the registry that finds them by name."""
