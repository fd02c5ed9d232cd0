"""A network that learns on recordings to hear phonemes, and what it says of speech."""
