"""The command line: parse, study, print."""
