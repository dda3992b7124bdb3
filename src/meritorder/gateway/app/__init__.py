"""The gateway as a process: the ASGI service, its server, a client and the administration."""
