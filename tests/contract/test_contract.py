"""The contract as other languages and tools meet it: rules, descriptors, generated code."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from apigpu.video.v1 import video_service_pb2
from google.protobuf import descriptor_pb2, json_format

from apigpu_common.interceptors.validation import InvalidRequest, validate

ROOT = Path(__file__).resolve().parents[2]
URL = "https://media.example/a.jpg"


def image(name: str = "a", uri: str = URL, duration: str = "5s") -> dict[str, object]:
    return {"id": name, "image": {"uri": uri}, "duration": duration}


def batch(*images: dict[str, object], **options: object) -> dict[str, object]:
    return {"job": {"images_to_videos": {"images": list(images), **options}}}


def caption(**sources: object) -> dict[str, object]:
    return {"job": {"caption": sources}}


BAD_REQUESTS = [
    ({}, "job"),
    ({"job": {}}, "job.operation"),
    (batch(), "job.images_to_videos.images"),
    (batch(*[image(str(i)) for i in range(1001)]), "job.images_to_videos.images"),
    (batch(*[image(str(i)) for i in range(10_000)]), "job.images_to_videos.images"),
    (batch(image("a"), image("a")), "job.images_to_videos.images"),
    (batch(image("")), "job.images_to_videos.images[0].id"),
    (batch(image("../etc")), "job.images_to_videos.images[0].id"),
    (batch(image("a\nb")), "job.images_to_videos.images[0].id"),
    (batch(image("x" * 129)), "job.images_to_videos.images[0].id"),
    (batch(image("a"), image("b", "ftp://x/y")), "job.images_to_videos.images[1].image.uri"),
    (batch(image("a", "no url")), "job.images_to_videos.images[0].image.uri"),
    (batch(image("a", "file:///etc/passwd")), "job.images_to_videos.images[0].image.uri"),
    (batch(image("a", "https://")), "job.images_to_videos.images[0].image.uri"),
    (batch(image("a", duration="-1s")), "job.images_to_videos.images[0].duration"),
    (batch(image("a", duration="0s")), "job.images_to_videos.images[0].duration"),
    (batch(image("a", duration="601s")), "job.images_to_videos.images[0].duration"),
    (batch({"id": "a", "image": {"uri": URL}}), "job.images_to_videos.images[0].duration"),
    (batch(image(), width=1919), "job.images_to_videos.width"),
    (batch(image(), height=0), "job.images_to_videos.height"),
    (batch(image(), frame_rate=0.5), "job.images_to_videos.frame_rate"),
    (batch(image(), frame_rate="NaN"), "job.images_to_videos.frame_rate"),
    (batch(image(), motion={"zoom": 0.9}), "job.images_to_videos.motion.zoom"),
    (
        batch(image(), motion={"focal_point": {"x": 1.5}}),
        "job.images_to_videos.motion.focal_point.x",
    ),
    (caption(subtitles={"uri": URL}), "job.caption.video"),
    (caption(video={"uri": URL}, subtitles={}), "job.caption.subtitles.source"),
    (caption(video={"file": "files/../x"}, subtitles={"uri": URL}), "job.caption.video.file"),
    ({**batch(image()), "request_id": "a b"}, "request_id"),
    ({"job": {**batch(image())["job"], "labels": {"Bad Key": "x"}}}, "job.labels[Bad Key]"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("request_json", "field"), BAD_REQUESTS)
def test_a_request_against_the_rules_is_refused_with_the_field(
    request_json: dict[str, object], field: str
) -> None:
    request = json_format.ParseDict(request_json, video_service_pb2.CreateJobRequest())
    with pytest.raises(InvalidRequest) as refused:
        validate(request)
    status = refused.value.to_status()
    assert field in str(status), refused.value.message
    assert len(status.SerializeToString()) < 8000, "details must fit into trailers"


@pytest.mark.parametrize(
    "uri",
    [
        "https://media.example/a%2Fb.jpg?X-Amz-Signature=ab%2Bc+d&x=1",
        "http://127.0.0.1:8080/v",
        "https://médias.example/é.jpg",
        "https://user:pass@host/x#y",
    ],
)
def test_real_links_are_accepted_as_they_are(uri: str) -> None:
    request = json_format.ParseDict(
        batch(image("image 1 ü", uri)), video_service_pb2.CreateJobRequest()
    )
    validate(request)


def test_every_method_has_a_timeout_in_the_service_config_and_only_safe_ones_retry() -> None:
    text = resources.files("apigpu.video.v1").joinpath("video_grpc_service_config.json").read_text()
    configured = {
        name["method"]: config
        for config in json.loads(text)["methodConfig"]
        for name in config["name"]
    }
    service = video_service_pb2.DESCRIPTOR.services_by_name["VideoService"]
    assert set(configured) == {method.name for method in service.methods}
    assert all("timeout" in config for config in configured.values())
    for config in configured.values():
        if "retryPolicy" in config:
            assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "retryPolicy" not in configured["UploadFile"], "a stream of chunks cannot be replayed"


def test_any_language_can_be_generated_from_the_descriptor_set_alone(tmp_path: Path) -> None:
    """What the README tells users of other languages: no .proto files, no network."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--descriptor_set_in={ROOT / 'gen' / 'contract.binpb'}",
            f"--python_out={tmp_path}",
            "apigpu/video/v1/video_service.proto",
        ],
        check=True,
    )
    assert (tmp_path / "apigpu/video/v1/video_service_pb2.py").exists()


def test_the_validate_proto_that_is_printed_compiles_back_to_the_original(tmp_path: Path) -> None:
    from protovalidate._gen.buf.validate import validate_pb

    subprocess.run([sys.executable, ROOT / "tools" / "proto_deps.py", tmp_path], check=True)
    image_path = tmp_path / "image.binpb"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{tmp_path}",
            f"--descriptor_set_out={image_path}",
            "buf/validate/validate.proto",
        ],
        check=True,
    )
    (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(image_path.read_bytes()).file
    original = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    for file in (compiled, original):
        file.ClearField("source_code_info")
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
        for field in file.extension:
            field.ClearField("json_name")
    assert compiled == original
