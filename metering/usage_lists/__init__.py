"""Lists of usage: calls that an upload brings, counted and taken back by metering."""
