"""LlamaIndex, with its model of services like OpenAI."""

import os

from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    api_base=os.environ["URL"] + "/v1", api_key="none", model=os.environ["MODEL"], is_chat_model=True, max_tokens=8
)
print("call", bool(model.complete("Say hello.").text))
print("stream", any(part.delta for part in model.stream_complete("Say hello.")))
