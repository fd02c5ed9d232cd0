# Speech for other programs in a container, without torch and without a GPU. From the project's folder:
#
#   docker build -f docker/serve.Dockerfile -t piper-serve .
#   docker run --rm -v piper-voices:/voices --entrypoint python piper-serve \
#     -m piper.download_voices ru_RU-irina-medium --download-dir /voices
#   docker run --rm --init -p 127.0.0.1:5000:5000 -v piper-voices:/voices -v piper-cache:/cache \
#     -e PIPER_API_KEY piper-serve --model ru_RU-irina-medium
#
# The Wyoming server, for Home Assistant, from the same image:
#
#   docker run --rm --init -p 10200:10200 -v piper-voices:/voices -v piper-cache:/cache \
#     --no-healthcheck --entrypoint python piper-serve \
#     -m piper.wyoming_server --uri tcp://0.0.0.0:10200 --model ru_RU-irina-medium
#
# /voices has the voices, one's own too; it may be a folder of the machine, and read-only where no
# voices are downloaded into it. /cache keeps each voice's optimised model, which takes seconds to make.
# Inside, the server listens on all addresses; `-p 127.0.0.1:…` decides who reaches it from outside.
# `docker stop` lets answers end: give it 20 seconds (`--stop-timeout 20`). The image holds no secrets.
FROM python:3.12.12-slim-bookworm AS build

WORKDIR /build
# Without pip, which the server never needs: 17 MB less.
RUN python -m venv --without-pip /opt/piper
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# Others, such as zh or ja for Chinese or Japanese voices: --build-arg EXTRAS=http,wyoming,zh
ARG EXTRAS=http,wyoming
# Releases name theirs; there is no git in here to ask.
ARG VERSION=
RUN ${VERSION:+env SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION"} \
    pip --python /opt/piper/bin/python install --no-cache-dir --constraint constraints.txt \
    ".[${EXTRAS}]"

FROM python:3.12.12-slim-bookworm

COPY --from=build /opt/piper /opt/piper
ENV PATH=/opt/piper/bin:$PATH PIPER_CACHE_DIR=/cache PYTHONUNBUFFERED=1
# Writable whatever user `--user` names.
RUN useradd --no-create-home --home-dir /cache --uid 1000 --user-group piper \
    && mkdir /voices /cache \
    && chown 1000:1000 /voices /cache \
    && chmod a+rwx /voices /cache
USER 1000:1000
WORKDIR /voices
VOLUME ["/voices", "/cache"]
EXPOSE 5000 10200

STOPSIGNAL SIGTERM
# A voice's optimised model is made at the first start, before the server answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
# A list, not a line for a shell: signals reach Python itself.
ENTRYPOINT ["python", "-m", "piper.http_server", "--host", "0.0.0.0", "--data-dir", "/voices"]
CMD ["--help"]
