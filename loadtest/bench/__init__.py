"""What the gateway costs, and how that grows: ``python -m loadtest.bench``, or ``make bench``.

- a ``Deployment`` is Headgate in a process of its own, configured as in production, in front of an instant engine;
  ``launch`` starts that process and all others.
- a ``ClientPool`` is closed-loop clients; ``StreamClients`` read paced streams and check every event.
- a part of the benchmark (``scaling``, ``memory``, ``soak``, ``peers``, ``gpu``) measures deployments and returns a
  dictionary.
- ``report`` writes these dictionaries as JSON, as tables and as charts, and names the ``targets`` that were missed.

It needs the repository (its results are part of the documentation), so it is not in the wheel.
"""
