"""Serve many adapters over one frozen base, with a different adapter in every row of a batch."""
