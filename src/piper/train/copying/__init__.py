"""Copies of voices: one speaks, and a quick voice learns to speak like it."""
