"""What tests ask of answers."""

from __future__ import annotations


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == code
    return answer.json


def without_id(answer):
    return {**answer.json, "request_id": None}
