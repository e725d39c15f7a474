"""From files to tables, splits and batches."""
