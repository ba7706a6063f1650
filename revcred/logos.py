"""Logos that an operator uploads: pictures of a few kinds, of which none can run anything."""

from xml.etree import ElementTree as ET

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

MAX_LOGO_BYTES = 100_000
SVG_TYPE = "image/svg+xml"
# How files of each kind begin.
BEGINNINGS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/webp": (b"RIFF",),
}
SVG_NAMESPACE = "{http://www.w3.org/2000/svg}"
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
SVG_ELEMENTS = frozenset(
    {
        "svg",
        "g",
        "defs",
        "symbol",
        "use",
        "title",
        "desc",
        "metadata",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "linearGradient",
        "radialGradient",
        "stop",
        "clipPath",
        "mask",
        "style",
    }
)


def check_logo(content: bytes) -> str:
    """Return the media type of a logo. Raises ValidationError."""
    if len(content) > MAX_LOGO_BYTES:
        message = gettext("The file is larger than %(most)s kB. Choose a smaller one.") % {
            "most": MAX_LOGO_BYTES // 1000
        }
        raise ValidationError(message)
    for media_type, beginnings in BEGINNINGS.items():
        if content.startswith(beginnings) and (
            media_type != "image/webp" or content[8:12] == b"WEBP"
        ):
            return media_type
    _check_svg(content)
    return SVG_TYPE


def _check_svg(content: bytes) -> None:
    """Raise ValidationError unless the text is SVG of shapes and text, and of nothing else."""
    # Entities could make a small file huge, and name other files.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        message = gettext(
            "This SVG has a document type, which is not needed. Save it as plain SVG."
        )
        raise ValidationError(message)
    try:
        root = ET.fromstring(content)  # noqa: S314 - without entities, and small
    except (ET.ParseError, ValueError):
        message = gettext("This is no PNG, JPEG, WebP or SVG file.")
        raise ValidationError(message) from None
    if root.tag != f"{SVG_NAMESPACE}svg":
        message = gettext("This is no PNG, JPEG, WebP or SVG file.")
        raise ValidationError(message)
    for element in root.iter():
        _check_element(element)


def _check_element(element: ET.Element) -> None:
    namespace, _, name = str(element.tag).rpartition("}")
    # Drawing programs leave notes in namespaces of their own, which browsers do not know.
    if f"{namespace}}}" == SVG_NAMESPACE and name not in SVG_ELEMENTS:
        message = gettext(
            "A logo has no element “%(name)s”. Save it as plain SVG, without scripts."
        ) % {"name": name}
        raise ValidationError(message)
    if namespace.endswith("xhtml"):
        message = gettext("A logo has no HTML in it. Save it as plain SVG.")
        raise ValidationError(message)
    texts = [element.text or ""] if name == "style" else []
    for attribute, value in element.attrib.items():
        if attribute.rpartition("}")[2].lower().startswith("on"):
            message = gettext(
                "A logo reacts to nothing: “%(attribute)s” is a script. Save it as plain SVG."
            ) % {"attribute": attribute}
            raise ValidationError(message)
        if attribute in {"href", XLINK_HREF} and not value.startswith("#"):
            message = gettext("A logo refers to nothing outside of its file. Save it as plain SVG.")
            raise ValidationError(message)
        texts.append(value)
    for text in texts:
        plain = text.lower().replace(" ", "")
        if "@import" in plain or plain.count("url(") != plain.count("url(#"):
            message = gettext("A logo loads nothing from elsewhere. Save it as plain SVG.")
            raise ValidationError(message)
