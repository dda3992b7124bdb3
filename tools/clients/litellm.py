"""LiteLLM as a library."""

import os

import litellm

url, name = os.environ["URL"], os.environ["MODEL"]
asked = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "api_key": "none"}
whole = litellm.completion(model=f"openai/{name}", api_base=url + "/v1", **asked)
print("call", isinstance(whole.choices[0].message.content, str))
stream = litellm.completion(model=f"openai/{name}", api_base=url + "/v1", stream=True, **asked)
print("stream", any(chunk.choices[0].delta.content for chunk in stream))
claude = litellm.completion(model=f"anthropic/{name}", api_base=url, **asked)
print("messages", isinstance(claude.choices[0].message.content, str))
