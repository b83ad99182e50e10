"""The control plane: probes, metrics and status on a port and a thread of their own, away from every token."""
