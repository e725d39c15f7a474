"""A frozen network as a short list of tensor operations, for batches of rows of any lengths."""
