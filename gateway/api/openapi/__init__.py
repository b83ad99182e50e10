"""What the data plane serves, as an OpenAPI document and as a page for people."""
