"""Answers, pipelines, explanations and error analysis."""
