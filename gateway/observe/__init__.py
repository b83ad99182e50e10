"""What is counted and logged about requests, and how Prometheus reads it."""
