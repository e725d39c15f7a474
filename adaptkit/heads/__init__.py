"""Where a task's head starts: what frozen features know of the labels."""
