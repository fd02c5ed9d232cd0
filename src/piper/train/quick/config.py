"""The quick voice's hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from piper.errors import ConfigError

TEXT_KERNEL = 5
"""Of the convolutions over phonemes."""
DECODED_FRAMES = 32
"""That the decoder is given of a piece beside discriminators, when it is given the fewest."""
LONGEST_FFT = 2048
"""Samples; of the transforms that compare the decoder's sound with a recording."""


@dataclass(frozen=True)
class QuickConfig:
    """Hyper-parameters of a quick voice.

    Attributes:
        num_symbols: Rows of the phoneme embedding.
        num_speakers: Speakers; 1 means no speaker embedding.
        sample_rate: Hertz.
        filter_length: Samples of the Fourier transform whose mels are latents.
        hop_length: Samples per frame.
        mel_channels: M.
        mel_fmax: Upper end of the mel filters in hertz; None: half the sample rate.
        channels: C, of text side and decoder.
        text_blocks: Blocks over phonemes.
        frame_blocks: Blocks over frames of the text side.
        decoder_blocks: Blocks of the decoder.
        filters_per_frame: How often within a frame the decoder changes its filters; 1 where a
            checkpoint of an earlier version does not say it.
        kept_latents: Z, channels of a frame of a VITS voice that keeps its own text side: from them
            the text side here predicts. 0: it has phonemes.

    Raises:
        ConfigError: For values that no network can have.
    """

    num_symbols: int = 256
    num_speakers: int = 1
    sample_rate: int = 22050
    filter_length: int = 1024
    hop_length: int = 256
    mel_channels: int = 80
    mel_fmax: float | None = None
    channels: int = 256
    text_blocks: int = 4
    frame_blocks: int = 5
    decoder_blocks: int = 4
    filters_per_frame: int = 2
    kept_latents: int = 0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            least = int(name != "kept_latents")
            if name != "mel_fmax" and getattr(self, name) < least:
                raise ConfigError(f"--model.{name} is {getattr(self, name)}; give {least} or more.")
        if (
            self.filter_length % 2
            or self.hop_length % 2  # frames lie about the middle of their hops
            or self.filter_length < 2 * self.hop_length
        ):
            raise ConfigError(
                f"--model.filter_length={self.filter_length} and "
                f"--model.hop_length={self.hop_length} must be even, and the first at least twice "
                "the second."
            )
        least = 2 * ((LONGEST_FFT // 2 + self.decoder_filter_length) // (2 * DECODED_FRAMES) + 1)
        if self.hop_length < least:
            raise ConfigError(
                f"--model.hop_length={self.hop_length} leaves too little sound in "
                f"{DECODED_FRAMES} frames to learn from; with --model.filter_length="
                f"{self.filter_length} give {least} or more."
            )
        if self.hop_length % (2 * self.filters_per_frame):
            raise ConfigError(
                f"--model.hop_length={self.hop_length} must be a multiple of twice "
                f"--model.filters_per_frame={self.filters_per_frame}."
            )
        if self.mel_fmax is not None and not 1000 <= self.mel_fmax <= self.sample_rate / 2:
            raise ConfigError(
                f"--model.mel_fmax={self.mel_fmax:g} must be from 1000 to half the sample rate, "
                f"{self.sample_rate / 2:g} Hz."
            )

    @property
    def win_length(self) -> int:
        """Samples of a window: as many as are transformed."""
        return self.filter_length

    @property
    def segment_size(self) -> int:
        """Samples that the shortest utterance is padded to."""
        return self.hop_length

    @property
    def mel_fmin(self) -> float:
        """Lower end of the mel filters in hertz."""
        return 0.0

    @property
    def mel_top_hertz(self) -> float:
        """Upper end of the mel filters in hertz."""
        return self.sample_rate / 2 if self.mel_fmax is None else self.mel_fmax

    @property
    def decoder_filter_length(self) -> int:
        """Samples of the decoder's Fourier transform, half those of the latents' where it can be.

        Longer filters smear what is short: with 1024 instead of 512 at 16 kHz, DistillMOS was 3.38
        instead of 3.63.
        """
        return max(2 * self.hop_length, self.filter_length // 4 * 2)

    @property
    def decoder_hop_length(self) -> int:
        """Samples from one of the decoder's filters to the next."""
        return self.hop_length // self.filters_per_frame

    @property
    def bins(self) -> int:
        """Frequency bins F of the decoder's filters."""
        return self.decoder_filter_length // 2 + 1

    @property
    def latents(self) -> int:
        """L: mels, log F0, voicing."""
        return self.mel_channels + 2

    @property
    def decoder_inputs(self) -> int:
        """Values of a frame that the decoder is given."""
        return self.latents + self.kept_latents

    @property
    def edge_samples(self) -> int:
        """Samples at each end of a decoded piece that lack the neighbouring frames' share."""
        return self.decoder_filter_length // 2

    @property
    def text_receptive_field(self) -> int:
        """Phonemes to each side that a phoneme's encoding depends on."""
        return self.text_blocks * (TEXT_KERNEL // 2)
