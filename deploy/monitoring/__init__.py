"""Writes the Grafana dashboards, the Prometheus rules and the tests of these rules: ``python -m deploy.monitoring``.

They are generated so that one place says how a share or a quantile is computed, and so that tests can go through all
queries. Their JSON and YAML are committed, because Grafana and Prometheus read nothing else.
"""
