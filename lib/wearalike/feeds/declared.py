"""The fields of all dialects, by the dialects' names."""

from __future__ import annotations

from collections.abc import Mapping

from wearalike.feeds.fields import Field
from wearalike.feeds.google_fields import GOOGLE_FIELDS, META_FIELDS
from wearalike.feeds.yml_fields import YML_FIELDS

# For each dialect, or dialects whose elements mean the same: its fields.
FIELDS: Mapping[str, tuple[Field, ...]] = {
    "YML and Admitad": YML_FIELDS,
    "Google Merchant": GOOGLE_FIELDS,
    "Meta catalogue": META_FIELDS,
}
