"""Applications on the gateway: each a program on OpenAI's SDK that is meant to be read, run and changed."""
