"""Calls in, usage out."""
