"""The data contract of the published tables, made from tables.py.

The format is the Open Data Contract Standard 3.0 (https://bitol-io.github.io/open-data-contract-standard/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

import wearalike
from wearalike.tables import LOADED_TABLES, Column, Table
from wearalike.warehouse.base import MAX_FRESH_AGE_S

API_VERSION = "v3.0.2"
_HOUR_S = 3600


def build_contract() -> dict[str, Any]:
    """Return the contract as plain values, in the order in which it is written."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": "wearalike.published",
        "name": "wearalike: published tables",
        "version": wearalike.__version__,
        "status": "active",
        "description": {
            "purpose": "Visually similar products of every product, anew every night.",
            "usage": "Read the views current_<table>, which show the published run alone.",
            "limitations": "It knows how products look, not how they sell.",
        },
        "schema": [_build_table(table) for table in LOADED_TABLES],
        "slaProperties": [
            {
                "property": "freshness",
                "value": MAX_FRESH_AGE_S // _HOUR_S,
                "unit": "h",
                "element": "publications.published_at",
            },
            {"property": "frequency", "value": 1, "unit": "d"},
        ],
    }


def _build_table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "physicalName": table.name,
        "logicalType": "object",
        "physicalType": "table",
        "description": table.meaning,
        "properties": [_build_column(table, column) for column in (_RUN, *table.columns)],
    }


# The warehouse adds the run to every row.
_RUN = Column("run", pa.string(), "the run that the row is of")


def _build_column(table: Table, column: Column) -> dict[str, Any]:
    key = ("run", *table.key)
    found: dict[str, Any] = {
        "name": column.name,
        "logicalType": _logical_type(column.type),
        "physicalType": str(column.type),
        "description": column.meaning,
        "required": not column.nullable,
    }
    if column.name in key:
        found |= {"primaryKey": True, "primaryKeyPosition": key.index(column.name) + 1}
    if pa.types.is_list(column.type):
        found["items"] = {"logicalType": _logical_type(column.type.value_type)}
    return found


def _logical_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "array"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"


def format_contract() -> str:
    """Return the contract as YAML; its texts are quoted as in JSON, which YAML contains."""
    head = "# Made from the code by `wearalike contract`.\n"
    return head + "\n".join(_yaml_lines(build_contract(), 0)) + "\n"


def build_dbt_sources() -> dict[str, Any]:
    """Return the views of the published run as sources of dbt, in the order they are written.

    The schema is that of PostgreSQL; a project over DuckDB sets the variable to main.
    """
    hours = MAX_FRESH_AGE_S // _HOUR_S
    return {
        "version": 2,
        "sources": [
            {
                "name": "wearalike",
                "description": "Visually similar products of every product, anew every night.",
                "schema": "{{ var('wearalike_schema', 'wearalike') }}",
                "tables": [
                    {
                        "name": "publications",
                        "description": "Every publication and rollback, in PostgreSQL.",
                        "config": {
                            "loaded_at_field": "published_at",
                            "freshness": {"warn_after": {"count": hours, "period": "hour"}},
                        },
                    },
                    *(_build_dbt_table(table) for table in LOADED_TABLES),
                ],
            }
        ],
    }


def _build_dbt_table(table: Table) -> dict[str, Any]:
    """Return the view of a table's published run; a key of one column is tested to be unique."""
    columns = []
    for column in table.columns:
        tests = [] if column.nullable else ["not_null"]
        if table.key == (column.name,):
            tests.append("unique")
        described: dict[str, Any] = {"name": column.name, "description": column.meaning}
        columns.append({**described, "data_tests": tests} if tests else described)
    return {
        "name": table.name,
        "identifier": f"current_{table.name}",
        "description": table.meaning,
        "columns": columns,
    }


def format_dbt_sources() -> str:
    """Return the sources as YAML, for a file sources.yml below the models of a dbt project."""
    head = "# Made from the code by `wearalike contract --format dbt`.\n"
    return head + "\n".join(_yaml_lines(build_dbt_sources(), 0)) + "\n"


def _yaml_lines(value: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines of a mapping."""
    indent = "  " * depth
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield f"{indent}{key}:"
            yield from _yaml_lines(inner, depth + 1)
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield f"{indent}{key}:"
            for entry in inner:
                first, *rest = _yaml_lines(entry, depth + 2)
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        else:
            yield f"{indent}{key}: {json.dumps(inner, ensure_ascii=False)}"
