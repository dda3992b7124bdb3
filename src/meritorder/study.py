"""The use cases: the only module that joins the packages."""
