"""Checkpoints: where they are stored, what they hold, how they are read and written safely."""
