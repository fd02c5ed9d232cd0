"""What loading a voice has to find: its network, its lexicon, its phonemizer. Speaks nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from piper.config import VoiceConfig
from piper.errors import ConfigError
from piper.text.frontend import Frontend
from piper.text.lexicon import load_lexicon
from piper.text.options import TextOptions
from piper.voice.cache import load_parts
from piper.voice.runtime import Cuda, find_cuda
from piper.voice.session import Network, VoiceSession

_logger = logging.getLogger(__name__)


def add_own_lexicon(options: TextOptions, model: Path) -> TextOptions:
    """Return the options with the lexicon beside the voice, if they have none and it exists.

    Raises:
        LexiconError: It cannot be read.
    """
    path = Path(f"{model}.lexicon")
    if options.lexicon is not None or not path.is_file():
        return options
    return replace(options, lexicon=load_lexicon(path))


def load_network(
    path: Path, cache: Path | None, *, use_cuda: Cuda, threads: int | None, seed: int | None
) -> Network:
    """Load the clean graph of a voice, or else its own.

    Raises:
        PiperError: The file is no voice, or CUDA is wanted strictly and not there.
    """
    use_cuda = find_cuda(use_cuda)
    reason = ""
    if cache is not None:
        found = load_parts(path, cache, use_cuda=use_cuda, threads=threads)
        if not isinstance(found, str):
            return found
        reason = found
    session = VoiceSession(path, use_cuda=use_cuda, threads=threads, seed=seed)
    if reason:
        _logger.info("%s speaks by its own graph, without its clean one (%s).", path, reason)
    return session


def warn_about_phonemizer(config: VoiceConfig, frontend: Frontend) -> None:
    """Say where a voice was trained on phonemes of another program or version."""
    trained, present = config.phonemizer, frontend.phonemizer
    if trained is not None and trained != present:
        _logger.warning(
            "The voice was trained on phonemes of %s %s, but speaks with those of %s %s; "
            "some words may sound worse.",
            trained.name,
            trained.version,
            present.name,
            present.version,
        )


def check_speakers(network: Network, config: VoiceConfig, config_path: Path) -> None:
    """Check that a voice's JSON names no more speakers than the network has.

    Raises:
        ConfigError: It does.
    """
    known = network.num_speakers
    if known is not None and config.num_speakers > known:
        raise ConfigError(
            f"{config_path} says num_speakers {config.num_speakers}, but the network has {known}; "
            "mend the file, or take the one that belongs to the voice."
        )
