"""What other systems export, as it is, under our own names."""

from revcred.uploads.reading.foreign import apigee, kong, threescale
from revcred.uploads.reading.foreign.shapes import Shape

SHAPES = (kong.SHAPE, apigee.SHAPE, threescale.SHAPE)

__all__ = ["SHAPES", "Shape"]
