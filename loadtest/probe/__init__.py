"""How robust a served classifier is: its accuracy on texts that were changed without changing what they mean."""
