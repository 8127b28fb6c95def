"""Links for whoever has no account here: each is good for one method on one file until it
expires. They lead straight to the object store, or to our own HTTP address."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from apigpu.worker.v1.worker_service_pb2 import FileLocation
from obstore.exceptions import BaseError

from apigpu_common.errors import InternalError
from orchestrator.files.storage import MAX_PUT_BYTES, FileStorage

# What no store of the three kinds goes beyond.
LONGEST_S = 7 * 24 * 3600
# What a link that is none to a file is signed for.
PERMIT = "PERMIT"
# A PUT without it makes no blob; other stores do not know it.
_AZURE = {"x-ms-blob-type": "BlockBlob"}


class LinkRefused(Exception):
    """A link is not signed by us for this, or has expired. The text may be told."""


class Links:
    """Makes links, and knows its own again.

    key: what our own links are signed with.
    own_url: where our HTTP listener is reached.
    direct: whether they lead to the object store where there is one.
    public_url: where all files can be had without any signature, where the operator has
    made them public on purpose; else empty.
    """

    def __init__(
        self,
        storage: FileStorage,
        key: bytes,
        *,
        own_url: str,
        direct: bool,
        public_url: str,
    ) -> None:
        self._storage = storage
        self._key = key
        self.direct = direct and storage.folder is None
        self._public_url = public_url.rstrip("/")
        self._own_url = own_url.rstrip("/")

    async def check(self) -> None:
        """Raise where the store cannot make links: told at the start."""
        if not self.direct:
            return
        try:
            await self._storage.sign("GET", "check", 60)
        except (BaseError, ValueError, NotImplementedError) as error:
            first_line = str(error).partition("\n")[0]
            raise InternalError(
                "STORAGE_CANNOT_SIGN",
                "The file storage cannot make signed links with these credentials"
                f" ({first_line}): give it a key that signs, or set APIGPU_STORAGE_DIRECT=false"
                " to have all files pass through this service.",
            ) from None

    async def get(self, key: str, filename: str, lifetime_s: float) -> tuple[str, float | None]:
        """A link that gives a file, and when it expires (Unix time); None: never."""
        lifetime_s = min(lifetime_s, LONGEST_S)
        if self._public_url:
            return f"{self._public_url}/{quote(key)}", None
        expires = time.time() + lifetime_s
        if self.direct:
            return await self._storage.sign("GET", key, lifetime_s), expires
        return self._own("GET", key, int(expires), filename), int(expires)

    async def source(self, key: str, lifetime_s: float) -> FileLocation:
        """Where a worker finds a file."""
        if self.direct:
            return FileLocation(
                url=await self._storage.sign("GET", key, min(lifetime_s, LONGEST_S))
            )
        return FileLocation(url=self._own("GET", key, int(time.time() + lifetime_s), ""))

    async def target(self, key: str, lifetime_s: float, size_bytes: int = 0) -> FileLocation:
        """Where a file is put. size_bytes: its length, which our own address insists on."""
        if not self.direct:
            return self.own_target(key, lifetime_s, size_bytes)
        url = await self._storage.sign("PUT", key, min(lifetime_s, LONGEST_S))
        headers = _AZURE if self._storage.is_azure else {}
        return FileLocation(url=url, headers=headers, max_bytes=MAX_PUT_BYTES)

    def own_target(self, key: str, lifetime_s: float, size_bytes: int = 0) -> FileLocation:
        """The same, through us."""
        expires = int(time.time() + lifetime_s)
        return FileLocation(url=self._own("PUT", key, expires, str(size_bytes or "")))

    def permit(self, job_id: str, attempt_id: str, lifetime_s: float) -> FileLocation:
        """Where a worker asks whether an attempt is still wanted."""
        key, expires = f"{job_id}/{attempt_id}", int(time.time() + lifetime_s)
        query = {"expires": str(expires), "signature": self._sign(PERMIT, key, expires, "")}
        return FileLocation(url=f"{self._own_url}/attempts/{key}?{urlencode(query)}")

    def check_own(self, method: str, key: str, query: Mapping[str, str]) -> str:
        """The file name to give with `key`, or what is written of the file that is to be put
        there. Raises LinkRefused."""
        try:
            expires = int(query.get("expires", ""))
        except ValueError:
            raise LinkRefused("the link is not complete") from None
        filename = query.get("filename", "")
        signature = self._sign("GET" if method == "HEAD" else method, key, expires, filename)
        if not hmac.compare_digest(signature.encode(), query.get("signature", "").encode()):
            raise LinkRefused("the link is not signed for this")
        if expires < time.time():
            raise LinkRefused("the link has expired")
        return filename

    def _own(self, method: str, key: str, expires: int, filename: str) -> str:
        query = {"expires": str(expires)} | ({"filename": filename} if filename else {})
        query["signature"] = self._sign(method, key, expires, filename)
        return f"{self._own_url}/transfers/{quote(key)}?{urlencode(query)}"

    def _sign(self, method: str, key: str, expires: int, filename: str) -> str:
        text = "\n".join((method, key, str(expires), filename)).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
