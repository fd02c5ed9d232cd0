"""The network's shape as one checked value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from piper.errors import ConfigError

DEFAULT_SPEAKER_CHANNELS = 512
_LIST_FIELDS = ("resblock_kernel_sizes", "upsample_rates", "upsample_kernel_sizes")


@dataclass(frozen=True)
class NetworkConfig:
    """Hyper-parameters of the network, named as in Piper's checkpoints; defaults are `medium`.

    Lists (as JSON has them) are accepted where a tuple is meant.

    Attributes:
        num_symbols: Rows of the phoneme embedding.
        num_speakers: Speakers; 1 means no speaker embedding.
        sample_rate: Hertz.
        resblock: Decoder's residual block, `1` (pairs of convolutions) or `2` (single ones).
        resblock_kernel_sizes: Kernel of each parallel residual block.
        resblock_dilation_sizes: Dilations of each parallel residual block.
        upsample_rates: Factors from frames to samples; their product is `hop_length`.
        upsample_initial_channel: Decoder's channels before the first upsampling; each halves them.
        upsample_kernel_sizes: Kernel of each upsampling.
        filter_length: Samples of the Fourier transform.
        hop_length: Samples per frame.
        win_length: Samples of the Hann window.
        mel_channels: Mels of the mel loss.
        mel_fmin: Lower end of the mel filters in hertz.
        mel_fmax: Upper end in hertz, None for half the sample rate.
        inter_channels: Channels of the latents.
        hidden_channels: Channels inside encoders, flow and duration predictor.
        filter_channels: Channels inside the text encoder's feed-forward layers.
        n_heads: Heads of the text encoder's attention.
        n_layers: Layers of the text encoder.
        kernel_size: Kernel of the text encoder's feed-forward layers.
        p_dropout: Dropout of the text encoder.
        gin_channels: Channels of the speaker embedding; 0 means 512 where there are several.
        use_sdp: Whether durations come from the stochastic predictor or from the plain one.
        segment_size: Samples of the random piece that is decoded in training.
        discriminator_channels: Channels of the discriminators' widest layers; Piper's are 1024,
            and less is for presets that train on a CPU.

    Raises:
        ConfigError: For values that no network can have, naming them and what to change.
    """

    num_symbols: int = 256
    num_speakers: int = 1
    sample_rate: int = 22050
    resblock: str = "2"
    resblock_kernel_sizes: tuple[int, ...] = (3, 5, 7)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    upsample_rates: tuple[int, ...] = (8, 8, 4)
    upsample_initial_channel: int = 256
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8)
    filter_length: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    mel_channels: int = 80
    mel_fmin: float = 0.0
    mel_fmax: float | None = None
    inter_channels: int = 192
    hidden_channels: int = 192
    filter_channels: int = 768
    n_heads: int = 2
    n_layers: int = 6
    kernel_size: int = 3
    p_dropout: float = 0.1
    gin_channels: int = 0
    use_sdp: bool = True
    segment_size: int = 8192
    discriminator_channels: int = 1024

    def __post_init__(self) -> None:
        for name in _LIST_FIELDS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        dilations = tuple(tuple(sizes) for sizes in self.resblock_dilation_sizes)
        object.__setattr__(self, "resblock_dilation_sizes", dilations)
        object.__setattr__(self, "resblock", str(self.resblock))
        mistake = next(self._list_mistakes(), None)
        if mistake is not None:
            raise ConfigError(f"{mistake}.")

    @property
    def spec_channels(self) -> int:
        """Frequency bins of the linear spectrogram."""
        return self.filter_length // 2 + 1

    @property
    def segment_frames(self) -> int:
        """Frames of one training segment."""
        return self.segment_size // self.hop_length

    @property
    def speaker_channels(self) -> int:
        """Channels of the speaker embedding; 0 where there is one speaker."""
        if self.num_speakers == 1:
            return 0
        return self.gin_channels or DEFAULT_SPEAKER_CHANNELS

    @property
    def mel_top_hertz(self) -> float:
        """Upper end of the mel filters."""
        return self.sample_rate / 2 if self.mel_fmax is None else self.mel_fmax

    def _list_mistakes(self) -> Iterator[str]:
        """Yield what no network can be like; each check relies on those before it."""
        yield from self._list_wrong_numbers()
        yield from self._list_wrong_frames()
        if self.hidden_channels % self.n_heads:
            yield (
                f"hidden_channels {self.hidden_channels} cannot be divided among n_heads"
                f" {self.n_heads}: change one of them"
            )
        if self.inter_channels % 2:
            yield (
                f"inter_channels is {self.inter_channels}: the flow splits them in halves, so give"
                " an even number"
            )
        yield from self._list_wrong_upsampling()
        yield from self._list_wrong_blocks()

    def _list_wrong_numbers(self) -> Iterator[str]:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and field.name != "gin_channels" and value < 1:
                yield f"{field.name} is {value}: give a whole number of at least 1"
        for name in _LIST_FIELDS:
            values = getattr(self, name)
            if not values or min(values) < 1:
                yield f"{name} is {list(values)}: give one or more whole numbers of at least 1"
        if not 0.0 <= self.p_dropout < 1.0:
            yield f"p_dropout is {self.p_dropout}: give a share from 0 up to, but not including, 1"
        if self.gin_channels != 0 and not (self.gin_channels > 0 and self.num_speakers > 1):
            yield (
                f"gin_channels is {self.gin_channels} with num_speakers {self.num_speakers}: leave"
                " it at 0 for one speaker, and at 0 or above for several"
            )

    def _list_wrong_frames(self) -> Iterator[str]:
        size, hop = self.filter_length, self.hop_length
        if self.win_length > size:
            yield (
                f"win_length {self.win_length} is longer than filter_length {size}: make it as"
                " long or shorter"
            )
        if size < hop or (size - hop) % 2:
            yield (
                f"filter_length {size} less hop_length {hop} has to be even and not negative,"
                " because half of it is padded on each side: change one of them"
            )
        if self.segment_size % hop:
            yield (
                f"segment_size {self.segment_size} is not a multiple of hop_length {hop}: give"
                " whole frames"
            )
        if self.segment_size <= (size - hop) // 2:
            yield (
                f"segment_size {self.segment_size} is too short for filter_length {size}: make it"
                " longer than half the transform"
            )
        if not 0.0 <= self.mel_fmin < self.mel_top_hertz <= self.sample_rate / 2:
            yield (
                f"mel_fmin {self.mel_fmin} and mel_fmax {self.mel_fmax} do not fit in 0 to"
                f" {self.sample_rate / 2} Hz (half of sample_rate): correct them"
            )

    def _list_wrong_upsampling(self) -> Iterator[str]:
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        if math.prod(rates) != self.hop_length:
            yield (
                f"the product of upsample_rates {list(rates)} is {math.prod(rates)}, but hop_length"
                f" is {self.hop_length}: make them equal"
            )
        if len(rates) != len(kernels):
            yield (
                f"upsample_rates has {len(rates)} entries and upsample_kernel_sizes"
                f" {len(kernels)}: give as many of both"
            )
        for rate, kernel in zip(rates, kernels, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                yield (
                    f"an upsample_kernel_sizes entry of {kernel} does not fit its rate {rate}:"
                    " give the rate plus an even number"
                )
        if self.upsample_initial_channel % 2 ** len(rates):
            yield (
                f"upsample_initial_channel {self.upsample_initial_channel} cannot be halved"
                f" {len(rates)} times: give a multiple of {2 ** len(rates)}"
            )

    def _list_wrong_blocks(self) -> Iterator[str]:
        kernels, dilations = self.resblock_kernel_sizes, self.resblock_dilation_sizes
        if self.resblock not in ("1", "2"):
            yield f"resblock is {self.resblock!r}: give 1 or 2"
        if len(kernels) != len(dilations):
            yield (
                f"resblock_kernel_sizes has {len(kernels)} entries and resblock_dilation_sizes"
                f" {len(dilations)}: give as many of both"
            )
        if any(kernel % 2 == 0 for kernel in kernels):
            yield f"resblock_kernel_sizes is {list(kernels)}: give odd numbers, which keep lengths"
        if not all(sizes and min(sizes) >= 1 for sizes in dilations):
            yield (
                f"resblock_dilation_sizes is {[list(sizes) for sizes in dilations]}: give one or"
                " more whole numbers of at least 1 for each kernel"
            )
