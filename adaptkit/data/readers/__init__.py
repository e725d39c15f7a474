"""Files as the world publishes them: one function a format; `read` detects the format."""
