"""The ONNX Runtime engine: a server process for one small model, in the shapes of vLLM's HTTP interface.

A **text** is one input, as token ids. The way of a request: ``server`` reads it, ``protocol`` says what may be in it,
``tokens`` turns it into texts, ``batcher`` decides which texts run together and when, ``session`` runs the graph,
and one class of ``tasks`` gives the numbers their meaning. ``model`` puts these together and proves at start that they
fit. Only ``session`` knows ONNX Runtime, only ``tokens`` the tokenizers library, only ``server`` HTTP.
"""
