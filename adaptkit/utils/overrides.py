"""Parse settings of a configuration: `hidden_size=256,num_hidden_layers=4`."""

from __future__ import annotations

from typing import Any

from adaptkit.errors import AdaptkitError


def overrides(text: str | None) -> dict[str, Any]:
    """The settings in a string such as `hidden_size=256,num_hidden_layers=4`.

    Raises:
        AdaptkitError: a part is not `name=value`.
    """
    found: dict[str, Any] = {}
    for part in filter(None, (text or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise AdaptkitError(
                f"--config_overrides {text}: {part!r} should be name=value, as in hidden_size=256."
            )
        found[name.strip()] = _value(value)
    return found


def _value(text: str) -> Any:
    """A value parsed as YAML; 1e-6 is also a number."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
