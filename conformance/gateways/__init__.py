"""Real gateways with the recipes of `deploy/gateways`, which ask revcred about each call."""
