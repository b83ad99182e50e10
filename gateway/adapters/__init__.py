"""LoRA adapters that are loaded and unloaded by command: their files are checked, then every replica gets them."""
