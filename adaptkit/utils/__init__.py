"""Files, terminal, processes, hardware and plots, independent of models and tasks."""
