"""Fits the simulator's costs to a real engine, and compares the two: ``python -m loadtest.simulator.calibration``."""
