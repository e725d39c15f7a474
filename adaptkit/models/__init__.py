"""Load a frozen base, find its sites, take its fingerprint."""
