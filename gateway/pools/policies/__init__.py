"""Which replica gets a request: one small class per policy, and the table that a configuration chooses from."""
