"""Rules with a pattern are told in words: every one of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apigpu.video.v1 import video_service_pb2 as rpc
from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from apigpu_common.interceptors.patterns import WORDS, in_words
from apigpu_common.interceptors.validation import InvalidRequest, validate

CONTRACT = Path(__file__).parents[3] / "gen/contract.binpb"


def patterns() -> set[str]:
    files = FileDescriptorSet.FromString(CONTRACT.read_bytes())
    ours = (file for file in files.file if file.package.startswith("apigpu"))
    return {found for file in ours for message in file.message_type for found in of(message)}


def of(message: DescriptorProto) -> Iterator[str]:
    for nested in message.nested_type:
        yield from of(nested)
    for field in message.field:
        rules = field.options.Extensions[validate_pb2.field]  # type: ignore[attr-defined]
        for each in (rules, rules.map.keys, rules.map.values, rules.repeated.items):
            if each.string.pattern:
                yield each.string.pattern


def test_every_pattern_of_the_contract_has_words_and_no_words_are_left_over() -> None:
    assert patterns() == set(WORDS)


def test_who_breaks_a_rule_reads_words() -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(rpc.GetJobRequest(name="`x`"))
    assert refused.value.message == ('name: must be the name of a job, as it was given: "jobs/..."')
    assert in_words("must be `even`") == "must be `even`"
