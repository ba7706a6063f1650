"""Exports of other systems, translated to our columns."""

from revcred.uploads.reading.foreign import apigee, kong, threescale
from revcred.uploads.reading.foreign.export_format import ExportFormat

EXPORT_FORMATS = (kong.KONG_EXPORT, apigee.APIGEE_EXPORT, threescale.THREESCALE_EXPORT)

__all__ = ["EXPORT_FORMATS", "ExportFormat"]
