"""What the parts of the service share: context, authentication, ledger writer, metrics, telemetry."""
