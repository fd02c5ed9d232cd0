"""From text to phoneme ids: the same way for speaking and for training."""
