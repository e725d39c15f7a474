"""Inject, save, load, merge and combine adapters."""
