# The orchestrator and the command `apigpu`; its workers are elsewhere.
#   docker build -f docker/orchestrator.Dockerfile -t api-gpu-orchestrator .
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY docker/build.txt docker/orchestrator.txt ./
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r build.txt \
 && python3 -m venv --without-pip /opt/apigpu \
 && /opt/build/bin/uv pip install --no-cache --python /opt/apigpu/bin/python --require-hashes -r orchestrator.txt
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/build/bin/uv pip install --no-cache --python /opt/apigpu/bin/python --no-deps /dist/*.whl

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home apigpu \
 && install -d -o apigpu /data
COPY --from=build /opt/apigpu /opt/apigpu
USER 10001
ENV PATH=/opt/apigpu/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    APIGPU_LISTEN=0.0.0.0:50051 \
    APIGPU_HTTP_LISTEN=0.0.0.0:3000 \
    APIGPU_DATA_DIR=/data
VOLUME /data
EXPOSE 50051 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-m", "apigpu_common.probe", "127.0.0.1:50051"]
ENTRYPOINT ["python3", "-m", "orchestrator"]
