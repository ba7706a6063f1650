"""The server: receives requests whole, and keeps gateways, people and lists apart.

An event loop receives each body within a time limit, whatever its sender does, and holds no thread
for it. It answers what gateways post by itself. All else is Django's, in threads: one pool for what
else programs ask, one for pages, one for uploads. A full pool answers 503 at once.
"""
