"""The HTTP service that carries a plan out."""
