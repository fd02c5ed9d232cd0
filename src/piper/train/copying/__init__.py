"""Copies of voices: one speaks, and a quick voice is trained to speak like it."""
