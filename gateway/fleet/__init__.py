"""All replicas of the gateway: the engines that it starts, where those run, and what keeps every replica probed."""
