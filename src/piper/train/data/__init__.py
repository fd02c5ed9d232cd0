"""From metadata and recordings to batches."""
