"""What is overpaid for inference, from the bill: findings, what the bill cannot tell, and dollars per request."""

from meritorder.study.audit.answer import audit
from meritorder.study.audit.options import Options

__all__ = ["Options", "audit"]
