"""What is said of speech by networks that others have trained: an opinion, whose voice it is."""
