"""anthropic-python."""
from typing import Literal

import anthropic
from cells import *
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]
# This client has no argument for it any more; the dialect still has.
FIXED = {"extra_body": {"temperature": 0}}


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


class Colour(BaseModel):
    colour: Literal["red", "blue"]
    sure: bool


def whole_of(ask):
    """The same answer by its stream, put together by the client."""
    with client.messages.stream(**ask) as events:
        return events.get_final_message()


def tools_over_two_turns():
    tools = [{"name": name, "input_schema": what} for name, what in TOOLS.items()]
    messages = [{"role": "user", "content": ASK_TOOLS}]
    ask = dict(model=MODELS["caller"], max_tokens=60, messages=messages, tools=tools, **FIXED)
    for answer in (whole_of(ask), client.messages.create(**ask)):
        assert answer.stop_reason == "tool_use", answer
        calls = [block for block in answer.content if block.type == "tool_use"]
        check_calls([(call.name, call.input) for call in calls])
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": RESULTS[call.name]} for call in calls]
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    check_after_tools(said(client.messages.create(**ask)))
    check_after_tools(said(whole_of(ask)))


def structured():
    messages = [{"role": "user", "content": ASK_COLOUR}]
    ask = dict(model=MODELS["plain"], max_tokens=60, messages=messages, **FIXED)
    check_colour(client.messages.parse(**ask, output_format=Colour).parsed_output.model_dump())


def images():
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": ASK_PICTURE}]
    messages = [{"role": "user", "content": content}]
    check_picture(said(client.messages.create(model=MODELS["seer"], max_tokens=60, messages=messages)))


def thinking():
    messages = [{"role": "user", "content": ASK_THOUGHT}]
    budget = {"type": "enabled", "budget_tokens": 1024}
    ask = dict(model=MODELS["thinker"], max_tokens=2048, messages=messages, thinking=budget, **FIXED)
    for answer in (whole_of(ask), client.messages.create(**ask)):
        thoughts = [block.thinking for block in answer.content if block.type == "thinking"]
        check_thought("".join(thoughts), said(answer))


def errors():
    ask = dict(max_tokens=12, messages=hello)
    missing = raises(anthropic.NotFoundError, lambda: client.messages.create(model=MISSING, **ask))
    assert MISSING in str(missing), missing
    stranger = anthropic.Anthropic(base_url=URL, api_key=WRONG_KEY, max_retries=0)
    raises(anthropic.AuthenticationError, lambda: stranger.messages.create(model=MODELS["plain"], **ask))
    none = {**ask, "max_tokens": 0}
    raises(anthropic.BadRequestError, lambda: client.messages.create(model=MODELS["plain"], **none))


def broken():
    ask = dict(model=MODELS["breaker"], max_tokens=12, messages=hello)
    raises(anthropic.APIError, lambda: whole_of(ask))
    assert raises(anthropic.APIStatusError, lambda: client.messages.create(**ask)).status_code >= 500


def lists():
    assert MODELS["plain"] in [entry.id for entry in client.models.list()]


def overload():
    default = anthropic.Anthropic(base_url=URL, api_key=KEY)

    def ask(text):
        messages = [{"role": "user", "content": text}]
        return said(default.messages.create(model=MODELS["slow"], max_tokens=12, messages=messages))

    eight_at_once(ask)


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, lists, overload])
