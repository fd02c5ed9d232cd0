"""Recordings over the machines of a Ray cluster. Knows nothing of datasets or of what is reused."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from piper.cluster import connect
from piper.config import VoiceConfig
from piper.errors import PiperError, describe_os_error
from piper.progress import ProgressLine
from piper.train import storage
from piper.train.data.cache import UtteranceCache, encode_utterance
from piper.train.data.packs import PackEntry
from piper.train.data.settings import DataSettings
from piper.train.data.utterance import PrepareJob, make_utterance

JOBS_A_TASK = 8
"""A task of Ray's costs a few milliseconds, as much as a recording."""
TASKS_A_CORE = 2
"""Tasks handed out at once: one that runs, and one that waits so that no core does. So what is
under way is bounded, 6 MB of recordings a core, whatever the dataset's size."""
MOST_LOSSES = 5
"""Tasks with a recording that came to no end before it is given up. Machines are lost, too, and
that says nothing of it; but five of them one after the other, with the same one, hardly are."""


def run_on_cluster(
    jobs: Sequence[PrepareJob],
    settings: DataSettings,
    voice: VoiceConfig,
    cache: UtteranceCache,
    address: str,
) -> list[PackEntry | str]:
    """Prepare utterances on a cluster, store them here, and return their entries in order.

    The machines need this package, but no common disk: a recording travels with its task, unless it
    lies in a storage, which they read themselves. What a lost machine had is done on another one,
    each recording in a task of its own, so that one that ends its process is known.

    Args:
        jobs: What to prepare.
        settings: Of the dataset.
        voice: Whose phonemes and ids.
        cache: Where they are stored.
        address: The cluster, as `host:port`, or `auto`.

    Returns:
        For each job its entry, or the sentence that says why there is none.

    Raises:
        PiperError: Ray is not installed, or the cluster does not answer.
        DatasetError: The cache cannot be written.
    """
    ray = connect(address, "preparing", "--num-processes")
    try:
        return _run(ray, jobs, cache, ray.put(settings), ray.put(voice))
    finally:
        ray.shutdown()


def _run(
    ray: Any, jobs: Sequence[PrepareJob], cache: UtteranceCache, *shared: Any
) -> list[PackEntry | str]:
    # Tried again here and not by Ray, which would start a deadly recording for ever.
    make = ray.remote(num_cpus=1, max_retries=0)(_make_utterances)
    progress = ProgressLine("Preparing", len(jobs), "recordings")
    numbers = range(len(jobs))
    waiting = deque(numbers[at : at + JOBS_A_TASK] for at in range(0, len(jobs), JOBS_A_TASK))
    running: dict[Any, range] = {}
    losses: Counter[int] = Counter()
    results: dict[int, PackEntry | str] = {}
    while waiting or running:
        cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
        while waiting and len(running) < cores * TASKS_A_CORE:
            task = waiting.popleft()
            sent = [(jobs[number], _read(jobs[number])) for number in task]
            running[make.remote(sent, *shared)] = task
        [ready], _ = ray.wait(list(running), num_returns=1)
        task = running.pop(ready)
        try:
            made = ray.get(ready)
        except ray.exceptions.RayError as error:
            losses.update(task)
            again = [number for number in task if losses[number] < MOST_LOSSES]
            waiting.extendleft(range(number, number + 1) for number in reversed(again))
            lost = set(task).difference(again)
            results |= {number: _describe_loss(jobs[number], error) for number in lost}
        else:
            for number, one in zip(task, made, strict=True):
                is_error = isinstance(one, str)
                results[number] = one if is_error else cache.store_encoded(jobs[number].key, *one)
        progress.show(len(results))
    progress.finish(len(results))
    return [results[number] for number in numbers]


def _describe_loss(job: PrepareJob, error: Exception) -> str:
    """Say that a recording has no entry, because no process came to its end."""
    reason = str(error).strip().splitlines()
    return (
        f"line {job.row.line}: {job.row.audio_path.name} ended {MOST_LOSSES} processes that read "
        f"it; mend or remove it (Ray: {reason[-1] if reason else 'no answer'})"
    )


def _read(job: PrepareJob) -> bytes | str | None:
    """Return a recording's bytes, or why there are none; None where the task reads them itself."""
    if storage.is_remote(job.row.audio_path):
        return None
    try:
        return job.row.audio_path.read_bytes()
    except OSError as error:
        return describe_os_error(error)


def _make_utterances(
    sent: Sequence[tuple[PrepareJob, bytes | str | None]],
    settings: DataSettings,
    voice: VoiceConfig,
) -> list[tuple[list[Any], bytes] | str]:
    """Prepare some utterances on some machine."""
    made: list[tuple[list[Any], bytes] | str] = []
    for job, content in sent:
        try:
            if isinstance(content, str):
                raise PiperError(content)
            made.append(encode_utterance(make_utterance(job.row, settings, voice, content)))
        except PiperError as error:
            made.append(f"line {job.row.line}: {error}")
    return made
