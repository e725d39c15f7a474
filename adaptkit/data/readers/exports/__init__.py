"""Exports of annotation tools, made rows of `text`, `entities`, `relations` and `label`."""
