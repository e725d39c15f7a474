"""Files, terminal, processes, hardware, plots: what knows nothing of models and tasks."""
