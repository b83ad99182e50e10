"""Replicas on the nodes of a Ray cluster, each a job that is submitted through Ray's Jobs REST API."""
