"""Int8 variants of a model: made, measured beside the model itself, and promoted only through a gate.

``command`` holds the options, ``texts`` reads the data, ``graph`` rewrites graphs, ``variants`` makes the candidates,
``measure`` runs them as the server would, ``gate`` judges, ``card`` writes down what was found, and ``__main__`` goes
through all of it. What is promoted becomes a folder beside the model's files, and ``engines.files.int8_variant`` finds
it there.
"""
