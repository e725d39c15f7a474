"""What is learned: one file a task; rows, tensors, loss, answers, scores."""
