"""Bells of metering: each announces that a table has work for the workers."""

from revcred.runtime.bell import Bell

# Task names are what running workers listen to, also during an upgrade.
inbox_bell = Bell("metering.process_inbox")
pairing_bell = Bell("metering.pair_partial_transactions")
claim_bell = Bell("metering.work_open_claims")
