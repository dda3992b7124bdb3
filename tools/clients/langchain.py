"""LangChain, with its models of OpenAI and Anthropic."""

import os

from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

url, name = os.environ["URL"], os.environ["MODEL"]
chat = ChatOpenAI(base_url=url + "/v1", api_key="none", model=name, max_tokens=8, max_retries=0)
print("call", isinstance(chat.invoke("Say hello.").content, str))
print("stream", any(chunk.content for chunk in chat.stream("Say hello.")))
responses = ChatOpenAI(base_url=url + "/v1", api_key="none", model=name, use_responses_api=True, max_tokens=8)
print("responses", bool(responses.invoke("Say hello.").content))
claude = ChatAnthropic(base_url=url, api_key="none", model=name, max_tokens=8, max_retries=0)
print("messages", bool(claude.invoke("Say hello.").content))
