"""Where a worker asks whether its attempt is still wanted. One that was dispatched without our
learning of it, and that was made again since, is not: it ends before it costs anything."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.files.arrivals import Wanted
from orchestrator.files.links import PERMIT, LinkRefused, Links


class Permits:
    """Serves the links that `Links.permit` makes."""

    def __init__(self, links: Links, wanted: Wanted) -> None:
        self._links = links
        self._wanted = wanted

    def routes(self) -> list[Route]:
        return [Route("/attempts/{job}/{attempt}", self._get, methods=["GET"])]

    async def _get(self, request: Request) -> Response:
        job_id, attempt_id = request.path_params["job"], request.path_params["attempt"]
        try:
            self._links.check_own(PERMIT, f"{job_id}/{attempt_id}", request.query_params)
        except LinkRefused as error:
            raise HTTPException(403, f"{error}\n") from None
        if not await self._wanted(job_id, attempt_id):
            raise HTTPException(410, "the attempt is over\n")
        return Response(status_code=204)
