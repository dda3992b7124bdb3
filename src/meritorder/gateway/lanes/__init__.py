"""How a call is answered: in real time, deferred on an open connection, or in the background."""
