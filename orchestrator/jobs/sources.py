"""Find the media that a job names, with the path of the field that names it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def media_sources(job: Job) -> Iterator[tuple[str, MediaSource]]:
    """Every MediaSource in the job's operation, as ("job.caption.video", source)."""
    operation = job.WhichOneof("operation")
    if operation is not None:
        yield from _walk(f"job.{operation}", getattr(job, operation))


def sources_to_read(job: Job) -> Iterator[tuple[str, MediaSource]]:
    """Those of them that items without an output need."""
    carried = tuple(
        f"job.images_to_videos.images[{item.index}]." for item in job.items if item.carried_over
    )
    return ((path, source) for path, source in media_sources(job) if not path.startswith(carried))


def files_needed(job: Job) -> list[str]:
    """The ids of the files that the job reads, and of the outputs that it carries over."""
    inputs = [source.file for _, source in sources_to_read(job) if source.file]
    carried = [item.output.file for item in job.items if item.carried_over]
    return [name.removeprefix("files/") for name in (*inputs, *carried)]


def picture_names(job: Job) -> dict[str, str]:
    """What each item's picture is called, its URL or its file. Empty where an operation has one
    item, with whose inputs no other has to do."""
    return {i.id: i.image.uri or i.image.file for i in job.images_to_videos.images}


def side_by_side(item_ids: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """The items in their order, but those of one picture next to each other, where the first
    of them stands."""
    groups: dict[str, list[str]] = {}
    for item_id in item_ids:
        groups.setdefault(names.get(item_id, item_id), []).append(item_id)
    return [item_id for group in groups.values() for item_id in group]


def shared(job: Job, here: Collection[str]) -> list[str]:
    """The names of the pictures that the items `here` read, and items of other tasks, too:
    those that were done before may have left them with the worker."""
    names = picture_names(job)
    elsewhere = {
        names.get(item.id) for item in job.items if item.id not in here and not item.carried_over
    }
    return sorted({name for item_id in here if (name := names.get(item_id, "")) in elsewhere})


def _walk(path: str, message: Message) -> Iterator[tuple[str, MediaSource]]:
    if isinstance(message, MediaSource):
        yield path, message
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if field.is_repeated:
            for index, element in enumerate(value):
                yield from _walk(f"{path}.{field.name}[{index}]", element)
        else:
            yield from _walk(f"{path}.{field.name}", value)
