"""A folder of adapters as an HTTP service that other people's clients understand."""
