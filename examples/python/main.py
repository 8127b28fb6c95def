"""Turns a picture into a clip: submit, follow through cuts, download.

    pip install api-gpu        (or, in this repository: make .venv/ok)
    python main.py localhost:50051 picture.jpg clips/

The service's key, where it has one, is in APIGPU_KEY.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from apigpu.video.v1.job_pb2 import Job

from apigpu_client import VideoClient


async def main(server: str, picture: str, folder: Path) -> int:
    async with VideoClient(server, api_key=os.environ.get("APIGPU_KEY", "")) as client:
        job = await client.images_to_videos([picture], duration_s=2)
        async for event in client.run(job):  # goes on by itself where it was cut off
            print(event.sequence, f"{event.progress.percent:.0f} %", flush=True)
            if event.HasField("finished"):
                job = event.finished
        for item in job.items:
            if item.HasField("output"):
                path = folder / item.output.filename
                await client.download(item.output.file, path)
                print(path)
            else:
                print(f"{item.id}: {item.error.message}", file=sys.stderr)
    return 0 if job.state == Job.SUCCEEDED else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python main.py HOST:PORT PICTURE FOLDER")
    server, picture, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(main(server, picture, Path(folder))))
