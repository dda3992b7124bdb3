"""The official client of Anthropic."""

import os
import time

import anthropic

client = anthropic.Anthropic(base_url=os.environ["URL"], api_key="none", max_retries=0)
request = {"model": os.environ["MODEL"], "max_tokens": 8, "messages": [{"role": "user", "content": "Say hello."}]}
print("messages", client.messages.create(**request).content[0].type == "text")
with client.messages.stream(**request) as stream:
    print("stream", bool(stream.get_final_message().content))
batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": request}])
while batch.processing_status != "ended":
    time.sleep(0.5)
    batch = client.messages.batches.retrieve(batch.id)
print("batch", [result.result.type for result in client.messages.batches.results(batch.id)] == ["succeeded"])
