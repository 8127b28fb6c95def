# The orchestrator alone: its workers are reached by address (APIGPU_WORKERS).
#   docker build -f docker/orchestrator.Dockerfile -t api-gpu-orchestrator .
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.txt ./
RUN python3 -m venv /opt/apigpu \
 && /opt/apigpu/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN /opt/apigpu/bin/pip install --no-cache-dir --no-deps .

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home apigpu \
 && install -d -o apigpu /data
COPY --from=build /opt/apigpu /opt/apigpu
USER 10001
ENV PATH=/opt/apigpu/bin:$PATH APIGPU_LISTEN=0.0.0.0:50051 APIGPU_DATA_DIR=/data
VOLUME /data
EXPOSE 50051
ENTRYPOINT ["python3", "-m", "orchestrator"]
