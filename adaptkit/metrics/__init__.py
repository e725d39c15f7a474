"""Metrics as `evaluate` modules that work with no network."""
