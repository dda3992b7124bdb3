"""The official client of OpenAI."""

import json
import os
import time

import openai
from pydantic import BaseModel


class Person(BaseModel):
    """What is asked for."""

    age: int


client = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key="none", max_retries=0)
model, messages = os.environ["MODEL"], [{"role": "user", "content": "Say hello."}]
whole = client.chat.completions.create(model=model, messages=messages, max_tokens=8)
print("call", isinstance(whole.choices[0].message.content, str))
chunks = client.chat.completions.create(model=model, messages=messages, max_tokens=8, stream=True)
print("stream", any(chunk.choices[0].delta.content for chunk in chunks if chunk.choices))
parsed = client.chat.completions.parse(model=model, messages=messages, response_format=Person)
print("structured", isinstance(parsed.choices[0].message.parsed, Person))
first = client.responses.create(model=model, input="Say hello.", max_output_tokens=8)
print("responses", first.status in {"completed", "incomplete"})
following = client.responses.create(model=model, input="Again.", previous_response_id=first.id, max_output_tokens=8)
print("previous_response_id", following.previous_response_id == first.id)
conversation = client.conversations.create()
client.responses.create(model=model, input="Say hello.", conversation=conversation.id, max_output_tokens=8)
print("conversations", len(client.conversations.items.list(conversation.id).data) == 2)
line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
line["body"] = {"model": model, "messages": messages, "max_tokens": 8}
file = client.files.create(file=("b.jsonl", json.dumps(line).encode()), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status not in {"completed", "failed", "expired"}:
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
print("batch", '"custom_id":"a"' in client.files.content(batch.output_file_id).text)
