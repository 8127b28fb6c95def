"""The REST bodies, for the description of the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# The contract's own rules for media sources and for ids.
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+([/?#][^\s]*)?$", max_length=8192)]
Id = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]{1,128}$")]


class CaptionRequest(BaseModel):
    url_video: Url = Field(description="Public URL of the video.")
    url_srt: Url = Field(description="Public URL of the captions (SRT, WebVTT or ASS).")


class AddAudioRequest(BaseModel):
    url_video: Url = Field(description="Public URL of the video.")
    url_audio: Url = Field(description="Public URL of the sound (MP3, AAC, WAV ...).")


class Img2VidImage(BaseModel):
    id: Id = Field(description="Your name of it, unique here.")
    image_url: Url = Field(description="Public URL of the picture (JPEG, PNG ...).")
    duracao: float = Field(gt=0, le=600, description="Length of the video, in seconds.")


class Img2VidRequest(BaseModel):
    images: list[Img2VidImage] = Field(min_length=1, max_length=1000)


class Error(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(extra="forbid")

    error: str
    message: str
    reason: str = Field(default="", description="Stable, UPPER_SNAKE_CASE, for programs.")
    field: str = Field(default="", description="The field of the request to blame.")


class Failure(Error):
    """Why there is no result. After an early head (status 200), `code` is the status."""

    code: int = 500
    jobId: str = Field(default="", description="The job, for GET /job/:jobId.")


class Execution(BaseModel):
    startTime: str
    endTime: str
    durationMs: int
    durationSeconds: float


class Stats(BaseModel):
    jobId: str
    delayTime: int = Field(default=0, description="Milliseconds in the queue.")
    executionTime: int = Field(default=0, description="Milliseconds at work.")


class BatchStats(Stats):
    total: int
    processed: int = Field(description="Fewer than `total` where some images failed.")


class VideoResponse(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Literal[200]
    message: str
    video_url: Url
    execution: Execution
    stats: Stats


class BatchVideo(BaseModel):
    id: str
    video_url: Url


class BatchFailure(BaseModel):
    id: str
    message: str
    reason: str
    field: str = ""


class Img2VidResponse(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Literal[200]
    message: str
    videos: list[BatchVideo]
    failed: list[BatchFailure] = Field(default=[], description="Images without a video, and why.")
    execution: Execution
    stats: BatchStats


class RunpodConfigured(BaseModel):
    configured: bool


class Health(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Literal["healthy"]
    service: str
    timestamp: str
    uptime: int = Field(description="Seconds.")
    runpod: RunpodConfigured


class Index(BaseModel):
    message: str
    version: str
    endpoints: dict[str, str]


class RunpodHealth(BaseModel):
    status: Literal["healthy"]
    endpoint: str
    timestamp: str


class RunpodUnhealthy(BaseModel):
    status: Literal["unhealthy"]
    error: str


class RunpodConfig(BaseModel):
    endpointId: str
    idleTimeout: int = Field(description="Seconds.")
    maxTimeout: int = Field(description="Seconds.")


class JobOutput(BaseModel):
    video_url: Url | None = None
    videos: list[BatchVideo] = []
    failed: list[BatchFailure] = []


class JobState(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED"]
    delayTime: int = 0
    executionTime: int = 0
    output: JobOutput | None = None
    error: str = ""


class Cancelled(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: str
    jobId: str
