"""Fine-tuning as the gateway sees it: what can be tuned, how the tuning server is asked, and what it has published."""
