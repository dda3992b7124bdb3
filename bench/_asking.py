"""A program that awaits many calls at once and writes their answers in the order asked; bench/client.py kills it.

python -m bench._asking http://127.0.0.1:8000 JOURNAL OUT CALLS
"""

import asyncio
import sys
from pathlib import Path

from meritorder.client import AsyncOpenAI

_TOKENS = 4


async def main(url: str, journal: str, out: Path, calls: int) -> None:
    """Ask, and write the ids of the answers, which the engine takes from the calls."""
    async with AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", journal=journal, collect_s=0.1, max_calls=max(1, calls // 10)
    ) as client:

        async def ask(number: int) -> str:
            answer = await client.chat.completions.create(
                model="stub",
                messages=[{"role": "user", "content": f"call {number}"}],
                user=f"call-{number}",
                max_tokens=_TOKENS,
                deadline="2h",  # type: ignore[call-overload] # ours
            )
            return str(answer.id)

        answers = asyncio.gather(*map(ask, range(calls)))
        await asyncio.sleep(0)  # until all have asked
        print(url, flush=True)
        ids = await answers
    partial = out.with_suffix(".part")
    partial.write_text("\n".join(ids), encoding="utf-8")
    partial.rename(out)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
