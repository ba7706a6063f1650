import pytest
from django.core.exceptions import ValidationError

from revcred.logos import MAX_LOGO_BYTES, check_logo

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (f'{HEAD}<path d="M0 0" fill="url(#a)"/></svg>'.encode(), "image/svg+xml"),
    ],
)
def test_pictures_are_taken(content, expected):
    assert check_logo(content) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MZ", "no PNG, JPEG, WebP or SVG"),
        (b"RIFF....WAVE", "no PNG, JPEG, WebP or SVG"),
        (b"<html/>", "no PNG, JPEG, WebP or SVG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_LOGO_BYTES), "larger than 100 kB"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "document type"),
        (f"{HEAD}<script>alert(1)</script></svg>".encode(), "no element “script”"),
        (f"{HEAD}<foreignObject/></svg>".encode(), "no element “foreignObject”"),
        (f'{HEAD}<g onload="alert(1)"/></svg>'.encode(), "“onload” is a script"),
        (f'{HEAD}<use xlink:href="https://x.example/a.svg#b"/></svg>'.encode(), "outside"),
        (f'{HEAD}<use href="javascript:alert(1)"/></svg>'.encode(), "outside"),
        (f'{HEAD}<g style="fill: url( https://x.example )"/></svg>'.encode(), "elsewhere"),
        (f"{HEAD}<style>@import 'x'</style></svg>".encode(), "elsewhere"),
        (
            f'{HEAD}<g><p xmlns="http://www.w3.org/1999/xhtml"/></g></svg>'.encode(),
            "no HTML",
        ),
    ],
)
def test_what_could_do_something_is_not(content, message):
    with pytest.raises(ValidationError, match=message):
        check_logo(content)
