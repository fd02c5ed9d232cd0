"""What watches a training: sentences to listen to, what is kept, memory."""
