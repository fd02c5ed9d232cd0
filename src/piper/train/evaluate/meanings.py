"""What each score means, in a sentence or two for a report. Table of text."""

from __future__ import annotations

from collections.abc import Mapping

from piper.train.evaluate.results import Score

MEANINGS: Mapping[str, str] = {
    "distillmos": "What listeners would give the sound on a scale from 1 (bad) to 5 (excellent), "
    "as a network predicts it. It hears noise and a mechanical tone; it does not know the text.",
    "per": "How many phonemes a recogniser that learnt on recordings heard wrongly, for each one "
    "that was to be said. It mishears recordings too: compare with theirs.",
    "wer": "How many words a speech recogniser heard wrongly, for each one of the text. Names and "
    "numbers may be right and written otherwise.",
    "cer": "How many characters a speech recogniser wrote wrongly, for each one of the text.",
    "similarity": "How alike the sentence's speaker and that of the recordings sound: the cosine "
    "of two speaker embeddings, 1 for the same sound.",
    "mel_cepstral_distance": "How far the sound lies from the recording, moment by moment after "
    "alignment. Another good reading of the sentence is far from it, too.",
    "pitch_error": "How far the pitch lies from the recording's where both have one, after "
    "alignment.",
    "voicing_error": "The share of moments that have a pitch in only one of voice and recording.",
    "duration_error": "How much longer or shorter a phoneme is than in the recording, on average.",
    "pause_error": "How much longer or shorter a pause is than in the recording, on average.",
    "speaking_rate": "Phonemes a second of speech, pauses left out. Neither end is better: the "
    "recordings' own is the measure.",
    "clipped_share": "Samples at full scale, where the sound is cut off.",
    "clicks": "Jumps of the signal that speech does not make, in a sentence.",
    "dc_offset": "How far the signal's middle lies from zero.",
    "silent_speech": "Silence where the text has a word, in a sentence.",
    "skipped_words": "Words of the text that were not said, in a sentence.",
    "repeated_words": "Words that were said again, in a sentence.",
    "lost_ends": "Whether a sentence lost its first or last phoneme: 0, 1 or 2 of them.",
    "loudness_spread": "How far the level of a sentence lies from the middle one's, on average.",
    "real_time_factor": "Time to speak, divided by the time of the speech; below 1 is faster than "
    "real time. It is that of the machine that measured.",
    "first_audio_seconds": "From the text to the first samples, on the machine that measured.",
    "size_megabytes": "The voice's file.",
    "memory_megabytes": "What the process took at most while it spoke.",
}
LOWER, HIGHER = "Lower is better.", "Higher is better."


def explain_score(score: Score) -> str:
    """Return what a score means, and which end of it is better."""
    meaning = MEANINGS.get(score.name, "A predictor of your own.")
    if score.is_lower_better is None:
        return meaning
    return f"{meaning} {LOWER if score.is_lower_better else HIGHER}"


def name_score(score: Score) -> str:
    """Return a score's title with its unit."""
    return f"{score.title}, {score.unit}" if score.unit else score.title
