"""The gateway as the proxy of an account at a provider: its configuration, and how calls with a deadline wait."""
