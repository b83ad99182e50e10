"""Runs Headgate beside Prometheus and Grafana: their settings, and the program that writes dashboards and alerts."""
