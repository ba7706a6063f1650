"""Bells of metering: each announces that a table has work for the workers."""

from revcred.runtime.bell import Bell

bell = Bell("metering.settle")


joining_bell = Bell("metering.join")


claim_bell = Bell("metering.claim")
