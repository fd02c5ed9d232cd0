"""How good a voice is: its sentences spoken, scored, compared, shown."""
