"""Comparison of the keys that gateways let in with the register."""
