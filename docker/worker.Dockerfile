# A worker, reached over gRPC or started by RunPod Serverless.
#   docker build -f docker/worker.Dockerfile -t api-gpu-worker .
#
# With Debian's FFmpeg, whose NVENC asks for the oldest driver. The encoder's library comes from
# the host: no CUDA base image is needed.
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY docker/build.txt docker/worker.txt ./
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r build.txt \
 && python3 -m venv --without-pip /opt/apigpu \
 && /opt/build/bin/uv pip install --no-cache --python /opt/apigpu/bin/python --require-hashes -r worker.txt
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/build/bin/uv pip install --no-cache --python /opt/apigpu/bin/python --no-deps /dist/*.whl

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 # drawing OpenGL in software, which nobody does here: 160 MB
 && rm -rf /usr/lib/*/dri /usr/lib/*/libLLVM-* /usr/lib/*/libz3.so* \
 && useradd --uid 10001 --create-home apigpu
COPY --from=build /opt/apigpu /opt/apigpu
USER 10001
ENV PATH=/opt/apigpu/bin:$PATH \
    APIGPU_WORKER_LISTEN=0.0.0.0:50052 \
    APIGPU_WORKER_FFMPEG=/usr/bin/ffmpeg \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=video,compute,utility
EXPOSE 50052
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-m", "apigpu_common.probe", "127.0.0.1:50052"]
# Our process is the container's first one. RunPod sets the address where a worker asks for jobs;
# without it the worker waits for gRPC calls.
ENTRYPOINT ["python3", "-m", "gpu_worker.container"]
