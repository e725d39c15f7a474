"""Readers for common file formats, one function per format; `read` detects the format."""
