"""anthropic-python."""
import anthropic
from cells import *

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def chat():
    whole = client.messages.create(model=MODELS["plain"], max_tokens=12, messages=hello)
    assert said(whole) and whole.usage.output_tokens > 0 and whole.stop_reason, whole


def stream():
    with client.messages.stream(model=MODELS["plain"], max_tokens=12, messages=hello) as events:
        texts = list(events.text_stream)
        whole = events.get_final_message()
    assert len(texts) > 1 and "".join(texts) == said(whole) and whole.usage.output_tokens > 0, whole


def errors():
    ask = dict(max_tokens=12, messages=hello)
    missing = raises(anthropic.NotFoundError, lambda: client.messages.create(model=MISSING, **ask))
    assert MISSING in str(missing), missing
    stranger = anthropic.Anthropic(base_url=URL, api_key=WRONG_KEY, max_retries=0)
    raises(anthropic.AuthenticationError, lambda: stranger.messages.create(model=MODELS["plain"], **ask))
    none = {**ask, "max_tokens": 0}
    raises(anthropic.BadRequestError, lambda: client.messages.create(model=MODELS["plain"], **none))


def lists():
    assert MODELS["plain"] in [entry.id for entry in client.models.list()]


def overload():
    default = anthropic.Anthropic(base_url=URL, api_key=KEY)

    def ask(text):
        messages = [{"role": "user", "content": text}]
        return said(default.messages.create(model=MODELS["slow"], max_tokens=12, messages=messages))

    eight_at_once(ask)


run([chat, stream, errors, lists, overload])
