"""The labels of sequence tasks: how rows give them, and what is odd about them."""
