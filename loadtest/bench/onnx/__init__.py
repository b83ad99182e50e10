"""How good the ONNX engine is, against the most that the machine can do: ``python -m loadtest.bench.onnx``.

- a ``Subject`` is what is measured: a model, its texts, and the options of the command line.
- ``ceiling`` is what ONNX Runtime alone can do with it; ``naive`` is a server as a first attempt would be.
- ``servers`` runs the engine, the gateway and what they are compared with.
- each part (``throughput``, ``latency``, ``padding``, ``overload``, ``memory``) measures the subject and prints rows.
"""
