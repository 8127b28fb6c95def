"""`apigpu deploy runpod`: makes RunPod's template and endpoint, or brings them up to date."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from apigpu_common import environment
from orchestrator import backend
from orchestrator.deploy import plan
from orchestrator.deploy.plan import Ambiguous, Wish
from orchestrator.deploy.runpod_rest import Kind, RestError, RunpodRest
from orchestrator.settings import Settings

_UNKNOWN_ID = "(new)"


async def deploy(rest: RunpodRest, wish: Wish, *, dry_run: bool) -> str:
    """Make what is not there, change what is not as wished, and say so; returns the endpoint's id.

    What a run that broke off has made is found again by its name.
    """
    there = plan.named(await rest.list("templates"), wish.name)
    endpoint = plan.named(await rest.list("endpoints"), wish.name)
    if there and there.get("isServerless") is False:
        raise Ambiguous(
            f"the template {wish.name} at RunPod is one for Pods: take another --name, or remove it"
        )
    step = _Step(rest, dry_run)
    template = await step("templates", there, wish.template(), wish.new_template())
    return await step("endpoints", endpoint, wish.endpoint(template), wish.new_endpoint(template))


class _Step:
    """Brings one thing at RunPod to where it should be. dry_run: only says what it would do."""

    def __init__(self, rest: RunpodRest, dry_run: bool) -> None:
        self._rest = rest
        self._dry_run = dry_run

    async def __call__(
        self,
        kind: Kind,
        there: Mapping[str, Any] | None,
        wanted: Mapping[str, Any],
        new: Mapping[str, Any],
    ) -> str:
        body = plan.update(there, wanted) if there else new
        self._tell(kind, there, body)
        if there is None:
            return _UNKNOWN_ID if self._dry_run else str((await self._rest.create(kind, new))["id"])
        if body and not self._dry_run:
            await self._rest.update(kind, str(there["id"]), body)
        return str(there["id"])

    def _tell(self, kind: Kind, there: Mapping[str, Any] | None, body: Mapping[str, Any]) -> None:
        what = kind.removesuffix("s")
        if there and not body:
            _say(f"{what} {there['id']} is as it should be")
            return
        doing = "would be " if self._dry_run else ""
        _say(f"{what} {there['id']}: {doing}changed" if there else f"{what}: {doing}made")
        for change in plan.changes(there or {}, body):
            _say(f"  {change}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  standard output is for the endpoint's id


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="apigpu deploy",
        description="Make RunPod's template and endpoint, or bring them up to date. Run it as"
        " often as you like: what is as it should be is left alone. The key comes from"
        " $RUNPOD_API_KEY. Prints RUNPOD_ENDPOINT_ID=... for the service.",
    )
    parser.add_argument("where", choices=["runpod"])
    parser.add_argument("--image", required=True, help="worker image, where RunPod can pull it")
    parser.add_argument("--name", default="api-gpu", help="of template and endpoint (api-gpu)")
    parser.add_argument(
        "--gpu",
        action="append",
        metavar="NAME",
        help="RunPod's name of a GPU, the best first; may be repeated (NVIDIA L4)",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable of the workers; may be repeated",
    )
    parser.add_argument("--min-workers", type=int, default=0, help="paid for day and night (0)")
    parser.add_argument("--max-workers", type=int, default=3, help="(3)")
    parser.add_argument("--idle-timeout", type=int, default=10, metavar="SECONDS", help="(10)")
    parser.add_argument("--disk", type=int, default=20, metavar="GB", help="(20)")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    return parser.parse_args()


def _wish(arguments: argparse.Namespace, settings: Settings) -> Wish:
    """Raises ValueError where it makes no sense."""
    pairs = [text.partition("=") for text in arguments.env]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("--env must look like NAME=VALUE")
    if not 0 <= arguments.min_workers <= arguments.max_workers:
        raise ValueError("--min-workers is at least 0 and at most --max-workers")
    gpus = arguments.gpu or ["NVIDIA L4"]
    prices = backend.price_list(settings.prices)
    for gpu in gpus:
        if not prices.has_nvenc.get(gpu, True):
            raise ValueError(f"{gpu} has no video encoder (NVENC): docs/runpod.md says which do")
    slots = {"BATCH_SIZE": str(settings.runpod_worker_slots)}
    env = {**slots, **{name: value for name, _, value in pairs}}
    return Wish(
        *(arguments.name, arguments.image, gpus, env),
        *(arguments.min_workers, arguments.max_workers, arguments.idle_timeout, arguments.disk),
    )


def main() -> int:
    arguments = _arguments()
    try:
        settings = environment.read(Settings)
        wish = _wish(arguments, settings)
        key = settings.runpod_api_key.get_secret_value()
        if not key:
            raise ValueError("RUNPOD_API_KEY is not set: make a key in RunPod's console")
    except ValueError as error:
        _say(f"cannot deploy: {error}")
        return 2

    async def work() -> str:
        async with RunpodRest(settings.runpod_rest_url or backend.RUNPOD_REST_URL, key) as rest:
            return await deploy(rest, wish, dry_run=arguments.dry_run)

    try:
        endpoint = asyncio.run(work())
    except (RestError, Ambiguous) as error:
        _say(f"cannot deploy: {error}")
        return 1
    if not arguments.dry_run:
        print(f"RUNPOD_ENDPOINT_ID={endpoint}")  # noqa: T201  for a shell, or an env file
    return 0


if __name__ == "__main__":
    sys.exit(main())
