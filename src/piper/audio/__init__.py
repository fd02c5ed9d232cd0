"""Audio chunks, their encodings, and where they go."""
