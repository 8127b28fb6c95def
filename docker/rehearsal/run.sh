#!/usr/bin/env bash
# Builds the images, brings the whole stack up, does a job through it, kills its containers with -9
# and finds them healthy again; then follows docs/deploy.md on a bare host. Needs root on Debian,
# where it starts an engine of its own; nothing of it is left behind. Images that would be pulled
# are made here.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '%4d s | %s\n' "$SECONDS" "$*"; }
folder=$(mktemp -d "${TMPDIR:-/var/tmp}/api-gpu.XXXXXX")
docker=/usr/bin/docker
host=api-gpu-rehearsal-host
compose=(docker-compose -f docker/compose.yaml)
export DOCKER_HOST="unix://$folder/sock" DOCKER_BUILDKIT=1
export X_API_KEY="rehearsal-$RANDOM$RANDOM$RANDOM" POSTGRES_PASSWORD="$RANDOM$RANDOM" S3_SECRET_KEY="$RANDOM$RANDOM"
export APIGPU_GRPC_PORT=${APIGPU_GRPC_PORT:-50251} APIGPU_HTTP_PORT=${APIGPU_HTTP_PORT:-50280}
export POSTGRES_IMAGE=api-gpu-rehearsal-postgres OBJECTSTORE_IMAGE=api-gpu-rehearsal-objectstore

engine=
clean_up() {
  status=$?
  if [ $status -ne 0 ] && [ -n "$engine" ]; then "${compose[@]}" logs --tail 30 || true; fi
  $docker rm -f "$host" >/dev/null 2>&1 || true
  "${compose[@]}" down -v -t 1 >/dev/null 2>&1 || true
  if [ -n "$engine" ]; then kill "$engine" 2>/dev/null || true; wait "$engine" || true; fi
  umount "$folder"/exec/netns/* 2>/dev/null || true
  ip link delete docker0 2>/dev/null || true
  iptables -P FORWARD ACCEPT 2>/dev/null || true
  rm -rf "$folder"
  exit $status
}
trap clean_up EXIT

if ! command -v dockerd >/dev/null || ! command -v mmdebstrap >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends docker.io mmdebstrap >/dev/null
fi
dockerd --data-root "$folder/data" --exec-root "$folder/exec" -H "$DOCKER_HOST" \
  --pidfile "$folder/pid" >"$folder/log" 2>&1 &
engine=$!
for _ in $(seq 120); do $docker info >/dev/null 2>&1 && break; sleep 0.5; done
$docker info >/dev/null || { cat "$folder/log"; exit 1; }
say "an engine"

# Debian's own archive; the certificates that this machine trusts come along.
mmdebstrap --quiet --variant=minbase --include=ca-certificates \
  --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"' bookworm - |
  $docker import -c 'CMD ["bash"]' \
    -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    - debian:bookworm-slim >/dev/null
say "a base image in place of debian:bookworm-slim"

build() { $docker build -q -f "$1" -t "$2" . >/dev/null; say "$2: $($docker image inspect -f '{{.Size}}' "$2" | awk '{printf "%.0f MB", $1 / 1e6}')"; }
build docker/orchestrator.Dockerfile api-gpu-orchestrator
build docker/worker.Dockerfile api-gpu-worker
build docker/rehearsal/postgres.Dockerfile $POSTGRES_IMAGE
build docker/rehearsal/objectstore.Dockerfile $OBJECTSTORE_IMAGE
build docker/rehearsal/host.Dockerfile $host

"${compose[@]}" up -d --no-build --wait >/dev/null 2>&1 || { "${compose[@]}" ps -a; exit 1; }
say "the stack is healthy"

export APIGPU_SERVER=127.0.0.1:$APIGPU_GRPC_PORT APIGPU_API_KEY=$X_API_KEY
apigpu animate demo/media/01-*.jpg --duration 2 -o "$folder/clip.mp4" --json >"$folder/events"
test -s "$folder/clip.mp4"
say "a clip was made: $(stat -c %s "$folder/clip.mp4") bytes"
job=$(head -1 "$folder/events" | python -c 'import json,sys; print(json.loads(sys.stdin.readline())["job"])')
jobs=$("${compose[@]}" exec -T -e PGPASSWORD="$POSTGRES_PASSWORD" postgres \
  psql -h 127.0.0.1 -U apigpu -tA -c 'select count(*) from jobs' apigpu)
[ "$jobs" = 1 ]
say "PostgreSQL has it"
stored=$("${compose[@]}" exec -T orchestrator python3 -c '
from obstore.store import from_url
print(*(each["size"] for page in from_url("s3://videos", client_options={"allow_http": True}).list() for each in page))')
[[ " $stored " == *" $(stat -c %s "$folder/clip.mp4") "* ]] || { echo "S3 has files of $stored bytes"; exit 1; }
say "the S3 server has it"
for service in orchestrator worker; do
  "${compose[@]}" exec -T $service cat /proc/1/cmdline | tr '\0' ' ' | grep -E 'python3? -m (orchestrator|gpu_worker)' >/dev/null
  [ "$("${compose[@]}" exec -T $service id -u)" = 10001 ]
done
say "our processes are the containers' first ones, and not root"

for service in orchestrator worker objectstore; do
  kill -9 "$($docker inspect -f '{{.State.Pid}}' "$("${compose[@]}" ps -q $service)")"
  for _ in $(seq 120); do
    state=$($docker inspect -f '{{.State.Health.Status}} {{.RestartCount}}' "$("${compose[@]}" ps -q $service)")
    [ "$state" = "healthy 1" ] && break
    sleep 0.5
  done
  [ "$state" = "healthy 1" ] || { echo "$service is $state"; exit 1; }
  say "killed with -9, $service is healthy again"
done
apigpu get "$job" --json | grep '"SUCCEEDED"' >/dev/null
apigpu download "$job" -o "$folder/again.mp4"
cmp "$folder/clip.mp4" "$folder/again.mp4"
apigpu animate demo/media/02-*.jpg --duration 1 -o "$folder/second.mp4" --json >/dev/null
say "the job is known, its result is there, and the next one is done"

# A host of its own beside the stack, which lends it PostgreSQL and S3. systemd is its first
# process and needs its part of the control groups.
"${compose[@]}" exec -T -e PGPASSWORD="$POSTGRES_PASSWORD" postgres \
  createdb -h 127.0.0.1 -U apigpu host
$docker run -d --name $host --network api-gpu_default --add-host api.example.com:127.0.0.1 \
  --cap-add SYS_ADMIN --security-opt apparmor=unconfined --security-opt seccomp=unconfined \
  --cgroupns private -v /sys/fs/cgroup/systemd:/sys/fs/cgroup/systemd --tmpfs /run $host >/dev/null
git ls-files -z --cached --others --exclude-standard | tar c --null -T - |
  $docker exec -i $host sh -c 'mkdir /root/api-gpu && tar x -C /root/api-gpu'
$docker cp demo/media/01-*.jpg $host:/root/api-gpu/photo.jpg >/dev/null
python -m docker.rehearsal.host |
  timeout 300 $docker exec -i -w /root/api-gpu -e POSTGRES_PASSWORD -e S3_SECRET_KEY $host bash \
    >"$folder/host" 2>&1 || { tail -40 "$folder/host"; $docker exec $host journalctl -n 40; exit 1; }
say "on a bare host the document led to a service under systemd, which came back after -9"
