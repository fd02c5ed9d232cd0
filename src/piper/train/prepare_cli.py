"""`python -m piper.train prepare DIR`: the command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from piper.messages import configure_logging, say
from piper.options import CommandParser
from piper.progress import count_things
from piper.train.command import run_command
from piper.train.data.dataset_flags import add_dataset_flags, find_settings
from piper.train.presets import PRESET_SAMPLE_RATES, QUICK, parse_quality


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the preparation."""
    parser = CommandParser(
        prog="python -m piper.train prepare",
        description="Decode, resample, trim and phonemise a dataset into the cache that training "
        "reads. Only what has changed is prepared again.",
    )
    add_dataset_flags(parser)
    parser.add_argument(
        "--quality",
        "--model.quality",
        metavar="NAME",
        help="of the voice; for quick, recordings are also aligned with their texts, and their "
        "pitch is found; default: what config.json says",
    )
    parser.add_argument(
        "--num-processes", type=int, metavar="N", help="default: one a core of this machine"
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="auto",
        help="use a Ray cluster, host:port; without an address the one of this machine",
    )
    parser.add_argument(
        "--loudness",
        "--data.loudness",
        type=float,
        metavar="LUFS",
        help="bring each recording to this loudness, such as -23; train with the same flag",
    )
    parser.add_argument(
        "--verify", action="store_true", help="read the whole cache, and repair what is damaged"
    )
    parser.add_argument(
        "--compact", action="store_true", help="remove from the cache what is not used any more"
    )
    parser.add_argument(
        "--shards",
        metavar="ADDRESS",
        help="pack the prepared dataset there, a folder or s3://…, for training with --data.shards",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a dataset; return the exit code."""
    arguments = create_parser().parse_args(argv)
    configure_logging()
    logging.getLogger("piper").setLevel(logging.INFO)
    stopped = "Stopped; what was prepared is kept, and the same command goes on."
    return run_command(lambda: _prepare(arguments), stopped)


def _prepare(arguments: argparse.Namespace) -> int:
    from piper.train.data.cache import compact, measure_use
    from piper.train.data.prepare import prepare_dataset
    from piper.train.data.shards import write_shards

    quality = parse_quality(arguments.quality) if arguments.quality else None
    if arguments.sample_rate is None and quality is not None:
        arguments.sample_rate = PRESET_SAMPLE_RATES.get(quality)
    settings = find_settings(arguments, loudness=arguments.loudness, quality=quality)
    how = {"num_processes": arguments.num_processes, "is_verified": arguments.verify}
    prepared = prepare_dataset(settings, **how, ray_address=arguments.ray)
    utterances, aligned = prepared.utterances, ""
    used = {settings.cache_dir: {u.key for u in utterances}}
    if settings.quality == QUICK or (settings.cache_dir / "quick").is_dir():
        from piper.train.quick.features import find_used_keys, prepare_features

        if settings.quality == QUICK:
            made = prepare_features(settings, prepared.voice, utterances, **how)
            aligned = f", {len(made)} of them aligned"
        used[settings.cache_dir / "quick"] = find_used_keys(settings, utterances)
    header = None
    if arguments.shards:
        header = write_shards(prepared, vars(settings), arguments.shards, settings.cache_dir)
    if arguments.compact:  # after the shards: it moves what they are packed from
        for folder, keys in used.items():
            compact(folder, keys)
    uses = [measure_use(folder, keys) for folder, keys in used.items()]
    used_bytes, all_bytes = (sum(bytes_) for bytes_ in zip(*uses, strict=True))
    hours = sum(u.num_samples for u in utterances) / settings.sample_rate / 3600
    size = f"{used_bytes / 1e6:.0f} MB in {settings.cache_dir}"
    say(f"{count_things(len(utterances), 'utterance')}, {hours:.2f} hours{aligned}, {size}")
    if all_bytes > 2 * used_bytes:
        unused = (all_bytes - used_bytes) / 1e6
        say(f"{unused:.0f} MB more are not used here; the flag --compact removes them.")
    if header is not None:
        num_bytes = sum(shard.num_bytes for shard in header.shards)
        say(
            f"{count_things(len(header.shards), 'shard')}, {num_bytes / 1e6:.0f} MB at "
            f"{arguments.shards}; train with --data.shards={arguments.shards}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
