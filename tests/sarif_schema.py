"""What SARIF 2.1.0 asks of the objects that are written here, restated: keys, which of them must be, values.

The standard's schema allows no other keys in these objects. `validate` reads as much of JSON Schema as this
needs.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": str}
BAG: dict[str, Any] = {"type": dict}
MESSAGE = {"type": dict, "required": ["text"], "keys": {"text": TEXT}}
LEVEL = {"type": str, "among": ["none", "note", "warning", "error"]}
KIND = {"type": str, "among": ["notApplicable", "pass", "fail", "review", "open", "informational"]}


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": list, "items": items}


ARTIFACT_LOCATION = {"type": dict, "keys": {"uri": TEXT, "index": {"type": int}}}
LOCATION = {
    "type": dict,
    "keys": {"physicalLocation": {"type": dict, "keys": {"artifactLocation": ARTIFACT_LOCATION}}},
}
RULE = {"type": dict, "required": ["id"], "keys": {"id": TEXT, "shortDescription": MESSAGE}}
DRIVER = {
    "type": dict,
    "required": ["name"],
    "keys": {"name": TEXT, "version": TEXT, "rules": array(RULE)},
}
NOTIFICATION = {"type": dict, "required": ["message"], "keys": {"level": LEVEL, "message": MESSAGE}}
INVOCATION = {
    "type": dict,
    "required": ["executionSuccessful"],
    "keys": {
        "executionSuccessful": {"type": bool},
        "exitCode": {"type": int},
        "toolExecutionNotifications": array(NOTIFICATION),
    },
}
RESULT = {
    "type": dict,
    "required": ["message"],
    "keys": {
        "ruleId": TEXT,
        "kind": KIND,
        "level": LEVEL,
        "message": MESSAGE,
        "locations": array(LOCATION),
        "properties": BAG,
    },
}
RUN = {
    "type": dict,
    "required": ["tool"],
    "keys": {
        "tool": {"type": dict, "required": ["driver"], "keys": {"driver": DRIVER}},
        "invocations": array(INVOCATION),
        "artifacts": array({"type": dict, "keys": {"location": ARTIFACT_LOCATION, "description": MESSAGE}}),
        "results": array(RESULT),
        "properties": BAG,
    },
}
LOG = {
    "type": dict,
    "required": ["version", "runs"],
    "keys": {"$schema": TEXT, "version": {"type": str, "among": ["2.1.0"]}, "runs": array(RUN)},
}


def validate(value: Any, schema: dict[str, Any] = LOG, where: str = "log") -> None:
    """Fail at the first place where a value is not as the schema has it."""
    wanted = schema["type"]
    assert isinstance(value, wanted), f"{where}: expected {wanted.__name__}, found {value!r}"
    assert wanted is not int or not isinstance(value, bool), f"{where}: expected int, found {value!r}"
    assert value in schema.get("among", [value]), f"{where}: {value!r}"
    for key in schema.get("required", []):
        assert key in value, f"{where}: lacks {key!r}"
    if "keys" in schema:
        for key, inner in value.items():
            assert key in schema["keys"], f"{where}: unknown key {key!r}"
            validate(inner, schema["keys"][key], f"{where}.{key}")
    for index, item in enumerate(value if "items" in schema else []):
        validate(item, schema["items"], f"{where}[{index}]")
