"""Requests of many clients become batches: the batcher, the repository of loaded models, and what they count."""
