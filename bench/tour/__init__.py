"""The whole loop on one machine, in about five minutes: `make tour`."""
