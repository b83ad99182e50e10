"""What changes while the gateway runs: the configuration in force, and its reload from its file."""
