"""One ONNX model in memory: its files, tokenizer, graph, task, and what each endpoint makes of it."""
