"""offpeak: jobs with a deadline through the batch API."""

import os

import offpeak
import openai
from offpeak.venues.openai_batch import OpenAIBatch

client = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key="none")
jobs = [offpeak.job(os.environ["ALIAS"], f"Say {word}.", max_tokens=8) for word in ("hello", "goodbye")]
results = offpeak.run(jobs, deadline="5m", venues=[OpenAIBatch(client=client)])
print("batch", all(result.text for result in results))
