"""The agent: one program that operators take to their gateways, and the pages that hand it out."""
