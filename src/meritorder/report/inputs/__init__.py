"""What plans are computed from, as text: traces, prices and calibrated profiles."""
