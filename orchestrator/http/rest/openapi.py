"""The REST paths as an OpenAPI description, made from the table that serves them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from apigpu_common import __version__
from orchestrator.http.rest.routes import Operation

_REFERENCE = "#/components/schemas/{model}"
_KEY = "X-API-Key"
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a repeated call harmless: the same key with the same body waits for"
    " the job that exists.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9.:_-]{0,128}$"},
}


# Where a job that was waited for can be asked about again.
_LINKS = {
    name: {"operationId": name, "parameters": {"jobId": "$response.body#/stats/jobId"}}
    for name in ("job", "cancel")
}


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    operations = tuple(operations)
    _, schemas = models_json_schema(
        [(model, "validation") for model in _models(operations)], ref_template=_REFERENCE
    )
    paths: dict[str, Any] = {}
    for one in operations:
        paths.setdefault(_template(one.path), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "API GPU", "version": __version__, "license": {"name": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {_KEY: {"type": "apiKey", "in": "header", "name": _KEY}},
        },
    }


def _models(operations: Iterable[Operation]) -> set[type[BaseModel]]:
    answers = {model for one in operations for model in one.answers.values()}
    return answers | {one.body for one in operations if one.body}


def _operation(one: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": one.summary,
        "operationId": one.endpoint.__name__,
        "responses": {
            str(status): {
                "description": HTTPStatus(status).phrase,
                "content": _content(model),
            }
            for status, model in sorted(one.answers.items())
        },
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r":(\w+)", one.path)
    ]
    if one.body:
        told["responses"]["200"]["links"] = _LINKS
        told["requestBody"] = {"required": True, "content": _content(one.body)}
        parameters.append(_IDEMPOTENCY_KEY)
    if parameters:
        told["parameters"] = parameters
    if not one.open:
        told["security"] = [{_KEY: []}]
    return told


def _content(model: type[BaseModel]) -> dict[str, Any]:
    reference = _REFERENCE.format(model=model.__name__)
    return {"application/json": {"schema": {"$ref": reference}}}


def _template(path: str) -> str:
    return re.sub(r":(\w+)", r"{\1}", path)
