"""The ONNX server's HTTP interface, in vLLM's shapes."""
