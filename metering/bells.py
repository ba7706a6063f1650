"""Bells of metering: each announces that a table has work for the workers."""

from revcred.runtime.bell import Bell

inbox_bell = Bell("metering.settle")


pairing_bell = Bell("metering.join")


claim_bell = Bell("metering.claim")
