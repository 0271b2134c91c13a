"""openai-python: chat completions, completions and responses."""
from typing import Literal

import openai
from cells import *
from pydantic import BaseModel

client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
hello = [{"role": "user", "content": HELLO}]
# At its limit an answer is incomplete, as OpenAI says; Ollama itself calls it completed.
LAST = ("response.completed", "response.incomplete")


class Colour(BaseModel):
    colour: Literal["red", "blue"]
    sure: bool


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


def tools_over_two_turns():
    tools = [{"type": "function", "function": {"name": name, "parameters": what}} for name, what in TOOLS.items()]
    messages = [{"role": "user", "content": ASK_TOOLS}]
    ask = dict(model=MODELS["caller"], messages=messages, tools=tools, temperature=0, seed=1, max_tokens=60)
    choice = client.chat.completions.create(**ask).choices[0]
    assert choice.finish_reason == "tool_calls", choice
    calls = choice.message.tool_calls
    check_calls([(call.function.name, json.loads(call.function.arguments)) for call in calls])
    check_calls(streamed_calls(client.chat.completions.create(**ask, stream=True)))
    messages.append(choice.message)
    for call in calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULTS[call.function.name]})
    check_after_tools(client.chat.completions.create(**ask).choices[0].message.content)
    parts = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ask, stream=True)]
    check_after_tools("".join(parts))
    responses_tools()


def streamed_calls(chunks):
    """Pieces of calls put together by their index."""
    calls = {}
    for chunk in chunks:
        for part in chunk.choices[0].delta.tool_calls or []:
            name, arguments = calls.get(part.index, ("", ""))
            calls[part.index] = (name + (part.function.name or ""), arguments + (part.function.arguments or ""))
    return [(name, json.loads(arguments)) for _, (name, arguments) in sorted(calls.items())]


def responses_tools():
    tools = [{"type": "function", "name": name, "parameters": what, "strict": True} for name, what in TOOLS.items()]
    said = [{"role": "user", "content": ASK_TOOLS}]
    ask = dict(model=MODELS["caller"], input=said, tools=tools, temperature=0, max_output_tokens=60)
    calls = [item for item in client.responses.create(**ask).output if item.type == "function_call"]
    check_calls([(call.name, json.loads(call.arguments)) for call in calls])
    said += calls
    said += [{"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[call.name]} for call in calls]
    check_after_tools(client.responses.create(**ask).output_text)


def structured():
    messages = [{"role": "user", "content": ASK_COLOUR}]
    ask = dict(model=MODELS["plain"], temperature=0)
    answer = client.chat.completions.parse(**ask, messages=messages, response_format=Colour, max_tokens=60)
    check_colour(answer.choices[0].message.parsed.model_dump())
    response = client.responses.parse(**ask, input=ASK_COLOUR, text_format=Colour, max_output_tokens=60)
    check_colour(response.output_parsed.model_dump())


def images():
    parts = [{"type": "text", "text": ASK_PICTURE}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    messages = [{"role": "user", "content": parts}]
    check_picture(client.chat.completions.create(model=MODELS["seer"], messages=messages).choices[0].message.content)
    parts = [{"type": "input_text", "text": ASK_PICTURE}, {"type": "input_image", "image_url": PNG_URL}]
    check_picture(client.responses.create(model=MODELS["seer"], input=[{"role": "user", "content": parts}]).output_text)


def thinking():
    # No field of OpenAI's own: Ollama's `reasoning`, which this client keeps beside what it knows.
    messages = [{"role": "user", "content": ASK_THOUGHT}]
    ask = dict(model=MODELS["thinker"], reasoning_effort="low", temperature=0)
    message = client.chat.completions.create(**ask, messages=messages, max_tokens=60).choices[0].message
    check_thought(message.reasoning, message.content, "low")
    chunks = client.chat.completions.create(**ask, messages=messages, max_tokens=60, stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    check_thought(thought, "".join(delta.content or "" for delta in deltas), "low")
    ask = dict(model=MODELS["thinker"], input=ASK_THOUGHT, temperature=0)
    response = client.responses.create(**ask, reasoning={"effort": "low"})
    thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
    check_thought("".join(thoughts), response.output_text, "low")


def errors():
    missing = raises(openai.NotFoundError, lambda: client.chat.completions.create(model=MISSING, messages=hello))
    assert MISSING in str(missing), missing
    stranger = openai.OpenAI(base_url=URL + "/v1", api_key=WRONG_KEY, max_retries=0)
    assert raises(openai.AuthenticationError, stranger.models.list).code == "unauthorized"
    ask = dict(model=MODELS["plain"], messages=hello, max_tokens="many")
    raises(openai.BadRequestError, lambda: client.chat.completions.create(**ask))


def broken():
    ask = dict(model=MODELS["breaker"], messages=hello)
    assert raises(openai.APIError, lambda: list(client.chat.completions.create(**ask, stream=True))).message
    assert raises(openai.InternalServerError, lambda: client.chat.completions.create(**ask)).status_code >= 500


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


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, lists, embeddings, overload])
