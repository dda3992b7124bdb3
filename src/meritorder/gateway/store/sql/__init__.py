"""What differs between SQLite and PostgreSQL: engines, the clock of leases, and statements that both understand."""
