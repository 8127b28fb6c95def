"""Assembles the rooms of the files from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.files.links import Links
from orchestrator.files.places import Places
from orchestrator.files.spool import Spool
from orchestrator.files.storage import FileStorage
from orchestrator.settings import Settings


@dataclass(frozen=True)
class Files:
    storage: FileStorage
    spool: Spool
    links: Links
    places: Places


async def open_files(
    settings: Settings, *, link_key: bytes, own_url: str, shares_disk: bool
) -> Files:
    """link_key: what our own links are signed with. own_url: where our HTTP listener is.
    shares_disk: whether workers see our folders.

    Raises ServiceError where the storage does not do what is asked of it.
    """
    storage = FileStorage(settings.storage_url or f"file://{settings.data_dir / 'files'}")
    await storage.check()
    uploads = settings.data_dir / "uploads"
    spool = Spool(uploads, settings.max_upload_bytes, settings.min_free_disk_bytes)
    links = Links(
        storage,
        link_key,
        own_url=settings.public_url or own_url,
        direct=settings.storage_direct,
        public_url=settings.storage_public_url,
    )
    await links.check()
    # As long as a task may wait and run.
    lifetime_s = settings.task_time_limit_s + settings.runpod_queue_limit_s
    # With an object store workers need not reach us, and nobody may have said how they could.
    through_us = storage.folder is not None or not settings.storage_direct
    places = Places(
        storage,
        links,
        shares_disk=shares_disk,
        reach_us=through_us or shares_disk or bool(settings.public_url),
        lifetime_s=lifetime_s,
        template=settings.output_path,
    )
    return Files(storage, spool, links, places)
