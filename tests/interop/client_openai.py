"""openai-python against the relay: models, chat and completions, streaming and not, embeddings, errors."""
import os
import sys

import openai

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=url + "/v1", api_key=os.environ["CAUSEWAY_API_KEY"], max_retries=0)
messages = [{"role": "user", "content": "Say hello."}]

assert model in [entry.id for entry in client.models.list()]
assert client.models.retrieve(model).id == model

whole = client.chat.completions.create(model=model, messages=messages, max_tokens=12)
assert whole.choices[0].message.content and whole.usage.completion_tokens > 0, whole

chunks = list(
    client.chat.completions.create(
        model=model, messages=messages, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text.strip() and chunks[-1].usage.completion_tokens > 0, chunks
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]

completion = client.completions.create(model=model, prompt="One, two,", max_tokens=8)
assert completion.choices[0].text, completion

embedded = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
assert len(embedded.data) == 2, embedded

try:
    client.chat.completions.create(model="no-such-model", messages=messages)
except openai.NotFoundError as error:
    assert "no-such-model" in str(error), error
else:
    raise AssertionError("a missing model answered")

try:
    openai.OpenAI(base_url=url + "/v1", api_key="cw_00000000_wrong", max_retries=0).models.list()
except openai.AuthenticationError as error:
    assert error.code == "unauthorized", error
else:
    raise AssertionError("a wrong key was let in")
