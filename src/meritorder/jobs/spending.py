"""The budget of a job, which its workers share: no call starts that could exceed it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

_PARTS: Final = 50  # so that no worker holds much that others need


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens, in and out."""

    input: int = 0
    output: int = 0

    def __add__(self, other: Self) -> "Tokens":
        return Tokens(self.input + other.input, self.output + other.output)


class Budget:
    """What is left of a job's budget.

    Args:
        usd: The dollars that the job may spend.
    """

    def __init__(self, usd: float) -> None:
        self._left_usd = usd
        self._part_usd = usd / _PARTS

    def lease(self, wanted_usd: float) -> float:
        """Return the dollars that a worker may spend now: what it wants, or a part of the budget; take back a debt."""
        leased_usd = wanted_usd if wanted_usd < 0 else min(max(wanted_usd, self._part_usd), self._left_usd)
        self._left_usd -= leased_usd
        return leased_usd


class Allowance:
    """What one worker may still spend.

    Args:
        lease: Leases dollars of the job's budget; a negative amount gives them back.
    """

    def __init__(self, lease: Callable[[float], Awaitable[float]]) -> None:
        self._lease = lease
        self._free_usd = 0.0
        self._reserved = 0
        self._settled = asyncio.Condition()

    async def reserve(self, usd: float) -> bool:
        """Reserve the most that a call can cost; False if what is left does not suffice and no call is in flight."""
        async with self._settled:
            while self._free_usd < usd:
                leased_usd = await self._lease(usd - self._free_usd)
                self._free_usd += leased_usd
                if leased_usd <= 0.0:
                    if not self._reserved:
                        await self._return_unused()
                        return False
                    await self._settled.wait()
            self._free_usd -= usd
            self._reserved += 1
            return True

    async def settle(self, reserved_usd: float, paid_usd: float) -> None:
        """Count what a call has cost in place of what was reserved for it."""
        async with self._settled:
            self._free_usd += reserved_usd - paid_usd
            self._reserved -= 1
            if not self._reserved:
                await self._return_unused()
            self._settled.notify_all()

    async def _return_unused(self) -> None:
        unused_usd, self._free_usd = max(self._free_usd, 0.0), min(self._free_usd, 0.0)
        await self._lease(-unused_usd)
