"""openai-python: chat completions, completions and responses."""
import openai
from cells import *

client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]
# At its limit an answer is incomplete, as OpenAI says; Ollama itself calls it completed.
LAST = ("response.completed", "response.incomplete")


def chat():
    whole = client.chat.completions.create(model=MODELS["plain"], messages=hello, max_tokens=12)
    assert whole.choices[0].message.content and whole.usage.completion_tokens > 0, whole
    completion = client.completions.create(model=MODELS["plain"], prompt="One, two,", max_tokens=8)
    assert completion.choices[0].text, completion
    response = client.responses.create(model=MODELS["plain"], input=HELLO, max_output_tokens=12)
    assert response.output_text, response


def stream():
    usage = {"include_usage": True}
    ask = dict(model=MODELS["plain"], max_tokens=12, stream=True)
    chunks = list(client.chat.completions.create(**ask, messages=hello, stream_options=usage))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() and chunks[-1].usage.completion_tokens > 0, chunks
    assert [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason], chunks
    pieces = list(client.completions.create(**ask, prompt="One, two,"))
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices), pieces
    with client.responses.stream(model=MODELS["plain"], input=HELLO, max_output_tokens=12) as events:
        kinds = [event.type for event in events]
        assert "response.output_text.delta" in kinds and kinds[-1] in LAST, kinds


def errors():
    missing = raises(openai.NotFoundError, lambda: client.chat.completions.create(model=MISSING, messages=hello))
    assert MISSING in str(missing), missing
    stranger = openai.OpenAI(base_url=URL + "/v1", api_key=WRONG_KEY, max_retries=0)
    assert raises(openai.AuthenticationError, stranger.models.list).code == "unauthorized"
    ask = dict(model=MODELS["plain"], messages=hello, max_tokens="many")
    raises(openai.BadRequestError, lambda: client.chat.completions.create(**ask))


def lists():
    assert MODELS["plain"] in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(MODELS["plain"]).id == MODELS["plain"]


def embeddings():
    for form in ("float", "base64"):
        embedded = client.embeddings.create(model=MODELS["plain"], input=["one", "two"], encoding_format=form)
        assert len(embedded.data) == 2 and embedded.data[0].embedding, embedded


def overload():
    default = openai.OpenAI(base_url=URL + "/v1", api_key=KEY)

    def ask(text):
        answer = default.chat.completions.create(model=MODELS["slow"], messages=[{"role": "user", "content": text}])
        return answer.choices[0].message.content

    eight_at_once(ask)


run([chat, stream, errors, lists, embeddings, overload])
