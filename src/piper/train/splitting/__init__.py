"""A long recording and its text become utterances."""
