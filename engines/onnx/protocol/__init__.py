"""The JSON of requests and responses, in the shapes of vLLM 0.32, OpenAI and the rerankers' APIs."""
