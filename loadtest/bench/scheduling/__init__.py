"""What scheduling must show on simulated engines: no herding, fairness among tenants, and goodput under overload."""
