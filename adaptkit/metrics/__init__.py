"""Metrics as functions, and as `evaluate` modules (`adaptkit.metrics.modules`)."""
