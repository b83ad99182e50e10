"""Fine-tuning as the gateway sees it: what can be tuned, the tuning server and its client, and what is published."""
