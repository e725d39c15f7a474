"""Conversations: rendered in a chat template, checked, and encoded with labels on answers."""
