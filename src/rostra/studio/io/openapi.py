"""The API's description (OpenAPI 3.1): what FastAPI draws, with our problems and our one kind of token in it."""

from collections.abc import Set
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from rostra.studio.api import PROBLEM_TYPE, Problem

_REF: Final = {"$ref": "#/components/schemas/Problem"}
_TOKEN: Final = {"type": "http", "scheme": "bearer", "description": "the token of a link: what stands behind its #"}


def describe(app: FastAPI, public: Set[tuple[str, str]]) -> None:
    """Make `app.openapi` tell what errors are, and which calls need a token: all but `public` (path, method)."""

    def draw() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _amend(document, public)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = draw  # type: ignore[method-assign]  # FastAPI's documented way to extend the description


def _amend(document: dict[str, Any], public: Set[tuple[str, str]]) -> None:
    components = document["components"]
    components["securitySchemes"] = {"link": _TOKEN}
    for theirs in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(theirs, None)
    components["schemas"]["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    failed = {"description": "a problem (RFC 9457)", "content": {PROBLEM_TYPE: {"schema": _REF}}}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            call["responses"] = {status: told for status, told in call["responses"].items() if status < "400"}
            call["responses"] |= {"4XX": failed, "5XX": failed}
            if (path, method.upper()) not in public:
                call["security"] = [{"link": []}]
