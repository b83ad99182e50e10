"""Model files: where they come from, and what is made of them before an engine starts."""
