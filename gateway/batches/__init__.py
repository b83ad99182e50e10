"""OpenAI's batches: files of requests that are answered with the capacity that interactive requests leave."""
