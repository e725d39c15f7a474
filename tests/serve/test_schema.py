"""Requests made from the schema of a service: it makes no mistake, and errors have one form."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
LAZY = settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])


def ask_everything(service) -> int:
    """Requests to every route, as they were made, and for an adapter that is there."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    answered = []
    for operation in operations:

        @LAZY
        @given(operation.as_strategy(), st.sampled_from([None, *service.host.names()]))
        def ask(case, model):
            if model is not None and isinstance(case.body, dict) and "model" in case.body:
                case.body["model"] = model
            reply = case.call()
            assert reply.status_code < 500, (case.body, reply.text)
            if reply.status_code >= 400:
                assert {"message", "type", "param", "code"} == reply.json()["error"].keys()
            answered.append(reply.status_code)

        ask()
    assert {200, 400, 404} <= {*answered}
    return len(operations)


def test_no_request_breaks_a_service_over_an_encoder(readers):
    assert ask_everything(readers) > 15


def test_no_request_breaks_a_service_over_a_decoder(writers):
    assert ask_everything(writers) > 15
