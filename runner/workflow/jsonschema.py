"""The description of the language as JSON Schema (Draft-07), for editors."""

from typing import Any

from runner.workflow.shapes import (
    Amount,
    Anything,
    Condition,
    Either,
    Fields,
    Flag,
    Kinds,
    Many,
    Named,
    Null,
    Shape,
    Text,
    Valued,
    described,
)

Schema = dict[str, Any]
EXPRESSION: Schema = {"type": "string", "pattern": r"\$\{\{[\s\S]*\}\}"}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}


def json_schema(shape: Fields, title: str) -> Schema:
    """A schema that takes whatever `conform` takes; what only a check can tell is left to it."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **Described().of(shape)}


class Described:
    def of(self, shape: Shape) -> Schema:
        match shape:
            case Text():
                return text(shape)
            case Condition():
                return {"type": ["string", "boolean", "number", "null"], "description": "an expression"}
            case Flag(scope):
                return dynamic({"type": "boolean"}, scope is not None)
            case Amount():
                return amount(shape)
            case Null():
                return {"type": "null"}
            case Anything():
                return {}
            case Many(item, scope, filled):
                return dynamic(
                    {"type": "array", "items": self.of(item), **({"minItems": 1} if filled else {})},
                    scope is not None,
                )
            case Named():
                return self._named(shape)
            case Fields():
                return self._fields(shape)
            case Kinds(by=by) | Valued(by=by):
                different = list({id(kind): kind for kind in by.values()}.values())
                return {"anyOf": [self.of(kind) for kind in different]}
            case Either(shapes):
                return {"anyOf": [self.of(one) for one in shapes]}

    def _named(self, shape: Named) -> Schema:
        found: Schema = {"type": "object", "additionalProperties": self.of(shape.item)}
        if shape.items:
            found["properties"] = {key: self.of(item) for key, item in shape.items.items()}
        if shape.filled:
            found["minProperties"] = 1
        return dynamic(found, shape.scope is not None)

    def _fields(self, shape: Fields) -> Schema:
        found: Schema = {
            "type": "object",
            "properties": {key: self._property(key, below, shape) for key, below in shape.keys.items()},
            "additionalProperties": shape.loose,
        }
        if shape.needs:
            found["required"] = list(shape.needs)
        if shape.filled:
            found["minProperties"] = 1
        return dynamic(found, shape.scope is not None)

    def _property(self, key: str, below: Shape, shape: Fields) -> Schema:
        found = self.of(below)
        return {**found, "description": f"{described(below)}; not GitHub"} if key in shape.ours else found


def dynamic(schema: Schema, may_be_expression: bool) -> Schema:
    return {"anyOf": [schema, EXPRESSION]} if may_be_expression else schema


def text(shape: Text) -> Schema:
    if shape.choices:
        return dynamic({"enum": list(shape.choices)}, shape.scope is not None)
    if not shape.filled:
        return SCALAR
    return {"type": ["string", "number", "boolean"], "minLength": 1, "description": shape.means}


def amount(shape: Amount) -> Schema:
    found: Schema = {"type": "integer" if shape.whole else "number"}
    if shape.above is not None:
        found["exclusiveMinimum"] = shape.above
    if shape.most is not None:
        found["maximum"] = shape.most
    return dynamic(found, shape.scope is not None)
