"""The OpenAPI document: it describes what there is, and whatever is sent is answered as it says."""

from __future__ import annotations

import io
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from easel.doors.openapi import ADDRESS, describe
from easel.guard.error_net import UNEXPECTED
from easel.guard.visitors import HEADER, new_token
from easel.settings import Settings
from pipelines.registry import build_registry
from tests.served import App
from tests.test_call_net import log

__all__ = ["log"]
EXAMPLES = 5  # of each address, as it is described and as it is not
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
METHODS = {"GET", "POST"}


def document(app: App) -> dict[str, Any]:
    return httpx.get(app.url.rstrip("/") + ADDRESS).json()


def test_it_describes_what_there_is(app: App) -> None:
    """All that the server answers beside the page, but what speaks otherwise or is of the page."""
    described = {(method.upper(), path) for path, methods in document(app)["paths"].items()
                 for method in methods}
    answered = {(method, re.sub(r":\w+}", "}", str(getattr(route, "path", ""))))
                for route in app.page.app.routes
                for method in (getattr(route, "methods", None) or ()) if method in METHODS}
    assert described <= answered
    left = {path for _, path in answered - described
            if path.startswith(("/v1", "/sdapi", "/healthz", "/metrics", "/history", "/presets",
                                "/wildcards"))}
    assert not [path for _, path in described if "gradio" in path]
    # What says that there is no such address.
    assert left == {"/v1", "/v1/{path}", "/sdapi/{path}"}


def test_it_is_of_the_doors_that_are_open() -> None:
    registry = build_registry()
    whole = describe(registry, Settings(), keeps=True)
    assert whole["components"]["schemas"]["dalle_options"]["properties"]["temperature"]["title"]
    closed = describe(registry, Settings(doors="mcp", metrics=False), keeps=False)
    assert sorted(closed["paths"]) == ["/healthz", "/presets/export", "/wildcards/export"]
    keyed = describe(registry, Settings(api_keys=SecretStr("k" * 22)), keeps=True)
    for path, methods in keyed["paths"].items():
        for operation in methods.values():
            is_open = path in ("/healthz", "/metrics") or "/files/" in path
            assert ("401" in operation["responses"]) is not is_open, path


def answers(app: App, operation: APIOperation, mode: GenerationMode, token: str) -> None:
    """Send an address what its description allows, or what it does not."""
    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much,
                                     HealthCheck.data_too_large])
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Case) -> None:
        answer: Response = case.call(base_url=app.url.rstrip("/"), headers={HEADER: token},
                                     timeout=120)
        assert UNEXPECTED.encode() not in answer.content
        assert b"Traceback" not in answer.content
        case.validate_response(answer, checks=CHECKS)

    sent()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_is_sent_is_answered_as_described(app: App, mode: GenerationMode,
                                                   log: io.StringIO) -> None:
    schema = schemathesis.openapi.from_dict(document(app))
    found = list(schema.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert len(operations) == len(found) > 30
    token = new_token()
    wrong, tried = [], []
    for operation in operations:
        try:
            answers(app, operation, mode, token)
            tried.append(operation.label)
        except Unsatisfiable:  # it takes nothing that could be wrong
            pass
        except (AssertionError, ExceptionGroup) as error:
            wrong.append(f"{operation.label}: {error}")
    assert wrong == []
    assert {"GET /history/export", *(f"POST /v1/images/{name}" for name in (
        "generations", "edits", "variations")), *(f"POST /sdapi/v1/{name}" for name in (
            "txt2img", "img2img", "options", "png-info"))} <= set(tried)
    assert httpx.get(f"{app.url}healthz").json()["status"] == "ok"
    assert "Traceback" not in log.getvalue()
    app.wait_until_idle()
