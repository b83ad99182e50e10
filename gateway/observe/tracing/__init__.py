"""Spans of sampled requests: which are recorded, how they are written, and how they reach an OTLP receiver."""
