"""From recordings to a checkpoint, and from there to a voice."""
