"""``models.toml`` as frozen models: every option, its bounds and its meaning; and how the file is read and checked."""
