"""The ONNX Runtime engine: a server process for one small model, in the shapes of vLLM's HTTP interface.

A **text** is one input, as token ids. The way of a request: ``http.server`` reads it, ``protocol`` says what may be in
it, an endpoint of ``model.endpoints`` plans which texts must be computed, ``model.tokens`` tokenizes them,
``serving.batcher`` decides which run together and when, ``model.session`` runs the graph, and one class of
``model.tasks`` gives the numbers their meaning. ``model.model`` puts these together and proves at the start that they
fit. Only ``session`` knows ONNX Runtime, only ``tokens`` the tokenizers library, only ``http`` knows HTTP.
"""
