"""Tasks, one per file: rows, tensors, loss, answers and scores."""
