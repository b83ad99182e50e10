"""Where the replicas of remote models come from when they are not listed by hand."""
