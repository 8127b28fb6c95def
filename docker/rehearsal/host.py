"""Writes "From a bare host" of docs/deploy.md as one script for a host with systemd: the commands
as they stand there, without RunPod, and a look at what systemd made of it."""

from __future__ import annotations

import sys

from tests.documents import blocks

PAGE, SECTION = "docs/deploy.md", "From a bare host"
UNIT = "/etc/systemd/system/apigpu.service"

# PostgreSQL and S3 are those of docker/compose.yaml; the environment has their passwords.
GIVEN = """
export DATABASE_URL=postgresql://apigpu:$POSTGRES_PASSWORD@postgres/host
export S3_ENDPOINT=http://objectstore:8333 S3_BUCKET=videos/host
export S3_KEY_ID=apigpu S3_SECRET=$S3_SECRET_KEY
"""
RUNPOD_S_LINE = "RUNPOD_API_KEY=$RUNPOD_API_KEY\n"
S3_WITHOUT_TLS = "AWS_ALLOW_HTTP=true\n"
LOOK = """
systemd-analyze verify apigpu.service
process() { systemctl show --property MainPID --value apigpu; }
first=$(process)
grep -P "^Uid:\\t$(id -u apigpu)\\t" /proc/$first/status
kill -9 $first
until [ "$(systemctl is-active apigpu)" = active ] && [ "$(process)" != $first ]; do sleep 0.2; done
"""
STOP = """
systemctl stop apigpu
[ "$(systemctl show --property Result --value apigpu)" = success ]
[ "$(systemctl is-enabled apigpu)" = enabled ]
"""


def script() -> str:
    install, _, certificate, settings, _, start, key, use = blocks(PAGE, SECTION, "sh")
    (unit,) = blocks(PAGE, SECTION, "ini")
    assert unit.startswith(f"# {UNIT}\n")
    assert RUNPOD_S_LINE in settings
    settings = settings.replace(RUNPOD_S_LINE, S3_WITHOUT_TLS)
    written = f"cat > {UNIT} <<'END'\n{unit}END\n"
    steps = (install, GIVEN, certificate, settings, written, start, key, use)
    return "\n".join(("set -eu", *steps, LOOK, use, STOP))


if __name__ == "__main__":
    sys.stdout.write(script())
