"""The findings of an audit, one kind after another on what those before it left."""
