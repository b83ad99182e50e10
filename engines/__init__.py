"""Turns a model into a running server that speaks vLLM-shaped HTTP. Knows nothing of the gateway.

``files`` brings the model's files, a launcher (``launchers.vllm``, ``launchers.onnx``) says how the engine is started
on them, and the ``supervisor`` starts, watches, restarts and stops it, each replica as a process of its own under
``processes.shim``.
"""
