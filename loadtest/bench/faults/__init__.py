"""What clients feel when something fails: one figure in each file, and one command repeats each."""
