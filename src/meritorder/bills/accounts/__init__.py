"""Bills read from the account itself, without an export."""
