"""Endpoints that the gateway answers by itself, without an engine."""
