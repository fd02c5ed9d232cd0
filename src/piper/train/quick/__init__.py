"""The quick family of voices: latents by formula, alignments given, harmonics and noise."""
