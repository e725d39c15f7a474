"""The service on several machines, with Ray Serve."""
