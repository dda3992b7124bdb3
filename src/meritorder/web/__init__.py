"""The web application: pages and `/api` over the use cases, in a process of its own."""
