"""Words and short phrases between pauses become utterances of their own."""
