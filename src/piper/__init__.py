"""Piper voices, from recordings to speech."""
