"""Pydantic AI, with its models of chat completions, responses and messages."""

import os

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

url, name = os.environ["URL"], os.environ["MODEL"]
settings = {"max_tokens": 16}
provider = OpenAIProvider(base_url=url + "/v1", api_key="none")
chat = Agent(OpenAIChatModel(name, provider=provider), model_settings=settings)
print("call", isinstance(chat.run_sync("Say hello.").output, str))
responses = Agent(OpenAIResponsesModel(name, provider=provider), model_settings=settings)
print("responses", isinstance(responses.run_sync("Say hello.").output, str))
claude = Agent(AnthropicModel(name, provider=AnthropicProvider(base_url=url, api_key="none")), model_settings=settings)
print("messages", isinstance(claude.run_sync("Say hello.").output, str))
