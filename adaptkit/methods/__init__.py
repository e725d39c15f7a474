"""Adapter methods: one file per method, their registry, and the method grammar."""
