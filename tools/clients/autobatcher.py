"""autobatcher: background responses, and batches of 24 hours."""

import asyncio
import os

from autobatcher import BatchOpenAI


async def main() -> None:
    """Call once in each way."""
    client = BatchOpenAI(base_url=os.environ["URL"] + "/v1", api_key="none")
    asked = {"model": os.environ["MODEL"], "messages": [{"role": "user", "content": "Say hello."}]}
    answer = await client.chat.completions.create(**asked)
    print("call", isinstance(answer.choices[0].message.content, str))
    response = await client.responses.create(model=os.environ["MODEL"], input="Say hello.")
    print("responses", bool(response.output))
    await client.close()


asyncio.run(main())
