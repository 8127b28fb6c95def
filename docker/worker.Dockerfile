# A worker with Debian's FFmpeg, whose NVENC asks for the oldest driver. The encoder's library
# comes from the host: no CUDA base image is needed.
#   docker build -f docker/worker.Dockerfile -t api-gpu-worker .
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
 && apt-get install -y --no-install-recommends python3 ca-certificates ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home apigpu
COPY --from=build /opt/apigpu /opt/apigpu
USER 10001
ENV PATH=/opt/apigpu/bin:$PATH \
    APIGPU_WORKER_LISTEN=0.0.0.0:50052 \
    APIGPU_WORKER_FFMPEG=/usr/bin/ffmpeg \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=video,compute,utility
EXPOSE 50052
# On RunPod Serverless (install the extra "runpod" as well): python3 -m gpu_worker.runpod_handler
ENTRYPOINT ["python3", "-m", "gpu_worker"]
