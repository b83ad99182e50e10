"""What the gateway costs in front of a real vLLM, beside the same engine without it: ``python -m loadtest.bench gpu``.

The engine has a model of known shape with weights that are not loaded but made up, so that nothing is downloaded: how
fast it computes depends on their number alone.
"""
