"""Turns a model into a running server that speaks vLLM-shaped HTTP. Knows nothing of the gateway.

``sources`` brings the model's files, a launcher (``vllm``, ``onnxruntime``) says how the engine is started on them, and
the ``supervisor`` starts, watches, restarts and stops it, each replica as a process of its own under a ``guardian``.
"""
