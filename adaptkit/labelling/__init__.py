"""Which rows to label next, and a file to collect the labels in."""
