"""What others wrote is here as they published it."""

from hashlib import sha256
from pathlib import Path

import storefront

VENDOR = Path(storefront.__file__).parent / "static" / "storefront" / "vendor"


def test_every_file_is_what_its_checksum_says():
    lines = (VENDOR / "CHECKSUMS").read_text().splitlines()
    listed = dict(reversed(line.split()) for line in lines if line and not line.startswith("#"))
    there = {
        file.name: sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.iterdir()
        if file.name != "CHECKSUMS"
    }

    assert there == listed
