"""Adapt anew with feedback, and keep the better version."""
