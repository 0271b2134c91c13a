"""ollama-python against the relay: list, chat and generate, streaming and not, embed, an error."""
import os
import sys

import ollama

url, model = sys.argv[1:3]
client = ollama.Client(host=url, headers={"Authorization": "Bearer " + os.environ["CAUSEWAY_API_KEY"]})
options = {"num_predict": 12, "seed": 1, "temperature": 0}
messages = [{"role": "user", "content": "Say hello."}]

assert model in [entry.model for entry in client.list().models]

whole = client.chat(model=model, messages=messages, options=options)
assert whole.done and whole.message.content, whole

parts = list(client.chat(model=model, messages=messages, options=options, stream=True))
assert len(parts) > 1 and parts[-1].done and parts[-1].eval_count > 0, parts
assert "".join(part.message.content for part in parts).strip()

generated = client.generate(model=model, prompt="One, two,", options=options)
assert generated.done and generated.response, generated
pieces = list(client.generate(model=model, prompt="One, two,", options=options, stream=True))
assert pieces[-1].done and "".join(piece.response for piece in pieces), pieces

embedded = client.embed(model=model, input=["one", "two"])
assert len(embedded.embeddings) == 2 and embedded.embeddings[0], embedded

assert client.show(model).details is not None
assert client.ps().models is not None

try:
    client.chat(model="no-such-model", messages=messages)
except ollama.ResponseError as error:
    assert error.status_code == 404 and "not found" in error.error, error
else:
    raise AssertionError("a missing model answered")

bad = ollama.Client(host=url, headers={"Authorization": "Bearer cw_00000000_wrong"})
try:
    bad.list()
except ollama.ResponseError as error:
    assert error.status_code == 401, error
else:
    raise AssertionError("a wrong key was let in")
