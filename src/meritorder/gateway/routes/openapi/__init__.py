"""The OpenAPI document: the table of all operations, and the schemas of what they take and return."""
