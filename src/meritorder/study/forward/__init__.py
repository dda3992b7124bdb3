"""Policies judged on days that they have not seen."""
