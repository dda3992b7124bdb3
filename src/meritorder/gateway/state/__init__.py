"""State shared by the parts of the service: context, authentication, ledger writer, metrics, telemetry, webhooks."""
