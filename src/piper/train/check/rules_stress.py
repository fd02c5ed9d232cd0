"""Russian words whose stress espeak-ng and silero-stress hear on different vowels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from piper.config import PhonemeType
from piper.progress import ProgressLine
from piper.text.frontend import Frontend
from piper.text.ids import DEFAULT_PHONEME_ID_MAP
from piper.text.options import Stress, TextOptions
from piper.text.stress import add_signs, load_accentor
from piper.text.stress_vowels import VOWELS, move_stress
from piper.train.check.entries import Entry
from piper.train.check.findings import Finding, Group, Rule, Severity

STRESS = Rule(
    "stress",
    Group.TEXT,
    Severity.NOTE,
    "Words that espeak-ng and silero-stress stress differently",
    "another vowel; words with a sign of stress in the text are left out",
    "Listen: where silero-stress is right, train with --data.stress=silero, or write a + before "
    "the vowel.",
)
RULES = (STRESS,)


def find_stresses(entries: Sequence[Entry]) -> list[Finding]:
    """Return a finding for each word that the two disagree about, the most frequent first.

    Takes a text after the other, for silero-stress keeps state: some 10 ms each.

    Raises:
        PhonemizeError: silero-stress is not installed.
    """
    accentor = load_accentor()
    judge = _Judge()
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Entry] = {}
    spoken = [entry for entry in entries if entry.text]
    progress = ProgressLine("Stressing", len(spoken), "texts")
    for done, entry in enumerate(spoken, 1):
        for edit in add_signs(entry.text, accentor):
            word = entry.text[edit.start : edit.end].lower()
            stressed = edit.text.lower()
            other = judge.find_other(word, stressed)
            if other:
                counts[other, stressed] += 1
                first.setdefault((other, stressed), entry)
        progress.show(done)
    progress.finish(len(spoken))
    findings = []
    for (other, stressed), count in counts.most_common():
        entry = first[other, stressed]
        times = "once" if count == 1 else f"{count} times"
        message = f"espeak-ng {other}, silero-stress {stressed}: {times}, in {entry.text!r:.60}"
        findings.append(Finding(STRESS, message, entry.line, entry.name, count))
    return findings


class _Judge:
    """Compares stresses; each word is spoken once."""

    def __init__(self) -> None:
        # As espeak-ng has it, whatever the dataset's options are.
        self._frontend = Frontend(
            PhonemeType.ESPEAK,
            "ru",
            DEFAULT_PHONEME_ID_MAP,
            options=TextOptions(stress=Stress.OFF),
        )
        self._phonemes: dict[str, str] = {}

    def find_other(self, word: str, stressed: str) -> str:
        """Return the word with espeak-ng's stress where that is another; else an empty text.

        Args:
            word: In lower case, without signs.
            stressed: The same with `+` before the stressed vowel, or with `ё`.
        """
        place = stressed.find("+") if "+" in stressed else stressed.find("ё")
        if place < 0:
            return ""
        vowel = sum(letter in VOWELS for letter in stressed[:place])
        if word not in self._phonemes:
            sentences = self._frontend.text_to_phonemes(word)
            self._phonemes[word] = "".join(sentences[0]).strip() if sentences else ""
        phonemes = self._phonemes[word]
        if move_stress(word, phonemes, vowel) in (None, phonemes):
            return ""
        places = [index for index, letter in enumerate(word) if letter in VOWELS]
        for number, index in enumerate(places):
            if move_stress(word, phonemes, number) == phonemes:
                return f"{word[:index]}+{word[index:]}"
        return ""
