"""Readers of tables: a row a line, or columns; the first line may name the columns."""
