"""Makes a LoRA adapter for a chat model, of conversations whose answers it learns."""
