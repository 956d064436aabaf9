"""The smallest instance of a JSON schema: what the echo engine answers when it must answer in a shape."""

from typing import Any


def instance(schema: Any, root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """Return a small value that the schema allows (the common keywords; local `$ref` only)."""
    if not isinstance(schema, dict) or depth > 32:
        return {}
    root = root if root is not None else schema
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target.get(part, {}) if isinstance(target, dict) else {}
        return instance(target, root, depth + 1)
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum"):
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            return instance(schema[keyword][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or list(properties)
            return {name: instance(properties.get(name, {}), root, depth + 1) for name in wanted}
        case "array":
            return [instance(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("maximum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "echo".ljust(schema.get("minLength", 0), "o")[: schema.get("maxLength")]
