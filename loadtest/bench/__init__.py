"""What the gateway costs, and how that grows: ``python -m loadtest.bench``, or ``make bench``.

- a ``Deployment`` is a gateway in a process of its own, configured as in earnest, in front of an instant engine.
- a ``Crowd`` is the clients: connections that ask without pause, and others that only wait.
- a part of the benchmark (a curve, the memory, the steadiness) measures deployments and returns a plain dictionary.
- ``report`` writes these dictionaries as JSON, as tables and as plots, and says which limits were not kept.
"""
