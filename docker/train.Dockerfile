# Training in a container, with or without GPUs. From the project's folder:
#
#   docker build -f docker/train.Dockerfile -t piper-train .
#   docker run --rm --gpus all --shm-size 4g --stop-timeout 120 \
#     -v "$PWD/recordings:/data" -v "$PWD/runs:/runs" --user "$(id -u):$(id -g)" \
#     piper-train fit --data.dataset_dir=/data --ckpt_path=last
#
# /data is the dataset; its .cache and config.json are written there. /runs gets checkpoints and
# logs, and outlives the container: the same command goes on from the newest last.ckpt in it.
# `docker stop` sends SIGTERM: training saves and ends with code 143, for which it gets
# --stop-timeout seconds. Loader processes hand batches over in shared memory, hence --shm-size.
# The image holds no secrets: keys for s3:// addresses go in with `docker run --env-file`.
FROM python:3.12.12-slim-bookworm

# torch.compile and Triton compile small pieces of C at run time. Debian keeps one version of a
# package in a release, so a pinned one would be gone after the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/piper
COPY constraints.txt ./
# The large ones first, in a layer that changes of the source leave alone. torch brings the CUDA
# libraries; the machine needs only the driver and the NVIDIA container toolkit.
RUN pip install --no-cache-dir --constraint constraints.txt torch lightning

ARG EXTRAS=train,codecs,numbers,ru
# Releases name theirs; there is no git in here to ask.
ARG VERSION=
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN ${VERSION:+env SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION"} \
    pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# Caches of matplotlib, Triton and compiled code; writable whatever user `--user` names.
ENV HOME=/home/piper
RUN useradd --create-home --home-dir "$HOME" --uid 1000 --user-group piper \
    && mkdir -p /runs /data \
    && chown 1000:1000 /runs /data \
    && chmod a+rwx "$HOME" /runs
USER 1000:1000
WORKDIR /runs
VOLUME ["/data", "/runs"]

# A list, not a line for a shell: signals reach Python itself.
ENTRYPOINT ["python", "-m", "piper.train"]
CMD ["fit", "--help"]
