"""Programs speak through it: HTTP in front of voices that stay loaded."""
