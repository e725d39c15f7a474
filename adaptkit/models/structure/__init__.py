"""Sites of architectures that are not in the table, read from the structure of a model."""
