"""The OpenAPI 3.1 document, made from the route table and the contract's types."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from gateway import __version__
from gateway.admin.contract import ExplainRequest
from gateway.admin.routes import ROUTES, Failure, Route

REF = "#/components/schemas/{model}"
_FAILURES = {
    400: "The request is not understood.",
    401: "No valid token.",
    403: "Not allowed this way.",
    404: "There is no such thing.",
    413: "The request is too large.",
    503: "It cannot be done now; the message says why.",
}


@cache
def document() -> dict[str, Any]:
    """The document; the same object every time, not to be changed."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lakehouse gateway admin API",
            "version": __version__,
            "description": "On the Unix socket the file's permissions decide; over TCP a bearer token does.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    failures = sorted({400, 401, *route.failures, *((403,) if route.audited else ())})
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            str(route.status): {"description": "Success.", "content": _content(route, schemas)},
            **{str(status): _failure(status, schemas) for status in failures},
        },
    }
    if route.parameters:
        operation["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where.value,
                "required": parameter.required,
                "description": parameter.help,
                "schema": {"type": parameter.type},
            }
            for parameter in route.parameters
        ]
    if route.body is not None:
        body = _schema(route.body, schemas)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _content(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if route.returns is None:
        return {route.media: {"schema": {"type": "string"}}}
    return {route.media: {"schema": _schema(route.returns, schemas)}}


def _failure(status: int, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(Failure, schemas)
    return {"description": _FAILURES[status], "content": {"application/json": {"schema": schema}}}


def _schema(kind: type[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    if kind is dict:
        return {"type": "object"}
    schema = TypeAdapter(kind).json_schema(mode="serialization", ref_template=REF)
    schemas.update(schema.pop("$defs", {}))
    if kind is ExplainRequest:
        schema = _renamed(schema, "as_", "as")
    schemas[kind.__name__] = schema
    return {"$ref": REF.format(model=kind.__name__)}


def _renamed(schema: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """`as` is a keyword in Python and the natural word in the API."""
    properties = {new if name == old else name: value for name, value in schema["properties"].items()}
    required = [new if name == old else name for name in schema.get("required", [])]
    return {**schema, "properties": properties, "required": required}
