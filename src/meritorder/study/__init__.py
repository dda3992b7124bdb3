"""The use cases: the only package that joins the others."""
