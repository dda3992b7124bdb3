"""The pages, each with its routes and its `/api`."""
