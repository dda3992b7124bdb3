"""The lanes of a call: real time, deferred on an open connection, or in the background."""
