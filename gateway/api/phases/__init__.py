"""What may have to wait between a request's arrival and its admission; each model has its own."""
