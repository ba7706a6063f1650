"""What `make run` shows at once: four fictional companies and a month of their usage.

`companies` says who there is, `traffic` what they call, `loading` brings both in by the acts and
the inbox, and `notes` are what scripts and the demo gateway read: `.run/demo.json`.
"""
