"""Instructor, with a JSON schema."""

import os

import instructor
import openai
from pydantic import BaseModel


class Person(BaseModel):
    """What is asked for."""

    age: int


bare = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key="none", max_retries=0)
client = instructor.from_openai(bare, mode=instructor.Mode.JSON_SCHEMA)
messages = [{"role": "user", "content": "A person of 30 years, as JSON."}]
answer = client.chat.completions.create(model=os.environ["MODEL"], response_model=Person, messages=messages)
print("structured", isinstance(answer, Person))
