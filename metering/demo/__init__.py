"""Demo data of `make run`: four fictional companies and a month of their usage.

`companies` creates the companies, `traffic` makes up their calls, `loading` loads both by the
usual actions and the inbox. `notes` reads and writes `.run/demo.json`, which scripts and the demo
gateway use.
"""
