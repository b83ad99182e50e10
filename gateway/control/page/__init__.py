"""The page of the control port: what the gateway does now and did in the last hour, and a playground."""
