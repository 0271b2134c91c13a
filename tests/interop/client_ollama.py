"""ollama-python."""
import ollama

from cells import *

HEADERS = {"Authorization": "Bearer " + KEY}
client = ollama.Client(host=URL, headers=HEADERS)
options = {"num_predict": 60, "seed": 1, "temperature": 0}
few = {**options, "num_predict": 12}
hello = [{"role": "user", "content": HELLO}]
tools = [{"type": "function", "function": {"name": name, "parameters": what}} for name, what in TOOLS.items()]


def chat():
    whole = client.chat(model=MODELS["plain"], messages=hello, options=few)
    assert whole.done and whole.message.content and whole.eval_count > 0, whole
    generated = client.generate(model=MODELS["plain"], prompt="One, two,", options=few)
    assert generated.done and generated.response, generated


def stream():
    parts = list(client.chat(model=MODELS["plain"], messages=hello, options=few, stream=True))
    assert len(parts) > 1 and parts[-1].done and parts[-1].eval_count > 0, parts
    assert "".join(part.message.content for part in parts).strip()
    pieces = list(client.generate(model=MODELS["plain"], prompt="One, two,", options=few, stream=True))
    assert pieces[-1].done and "".join(piece.response for piece in pieces), pieces


def tools_over_two_turns():
    for streamed in (False, True):
        messages = [{"role": "user", "content": ASK_TOOLS}]
        ask = dict(model=MODELS["caller"], messages=messages, tools=tools, options=options, stream=streamed)
        answer = client.chat(**ask)
        parts = list(answer) if streamed else [answer]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        check_calls([(call.function.name, dict(call.function.arguments)) for call in calls])
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        for call in calls:
            name = call.function.name
            messages.append({"role": "tool", "tool_name": name, "content": RESULTS[name]})
        after = client.chat(**ask)
        check_after_tools("".join(part.message.content or "" for part in (after if streamed else [after])))


def structured():
    messages = [{"role": "user", "content": ASK_COLOUR}]
    answer = client.chat(model=MODELS["plain"], messages=messages, format=SCHEMA, options=options)
    check_colour(json.loads(answer.message.content))
    generated = client.generate(model=MODELS["plain"], prompt=ASK_COLOUR, format=SCHEMA, options=options)
    check_colour(json.loads(generated.response))


def images():
    messages = [{"role": "user", "content": ASK_PICTURE, "images": [PNG]}]
    check_picture(client.chat(model=MODELS["seer"], messages=messages).message.content)
    check_picture(client.generate(model=MODELS["seer"], prompt=ASK_PICTURE, images=[PNG]).response)


def thinking():
    messages = [{"role": "user", "content": ASK_THOUGHT}]
    whole = client.chat(model=MODELS["thinker"], messages=messages, think="low", options=options)
    check_thought(whole.message.thinking, whole.message.content, "low")
    parts = list(client.chat(model=MODELS["thinker"], messages=messages, think=True, options=options, stream=True))
    thought = "".join(part.message.thinking or "" for part in parts)
    check_thought(thought, "".join(part.message.content or "" for part in parts))
    generated = client.generate(model=MODELS["thinker"], prompt=ASK_THOUGHT, think=True, options=options)
    check_thought(generated.thinking, generated.response)


def errors():
    missing = raises(ollama.ResponseError, lambda: client.chat(model=MISSING, messages=hello))
    assert missing.status_code == 404 and MISSING in missing.error, missing
    stranger = ollama.Client(host=URL, headers={"Authorization": "Bearer " + WRONG_KEY})
    assert raises(ollama.ResponseError, stranger.list).status_code == 401
    bad = raises(ollama.ResponseError, lambda: client.chat(model=MODELS["plain"], messages=hello, think=True))
    assert bad.status_code == 400 and "thinking" in bad.error, bad


def broken():
    parts = client.chat(model=MODELS["breaker"], messages=hello, stream=True)
    assert raises(ollama.ResponseError, lambda: list(parts)).error


def lists():
    assert MODELS["plain"] in [entry.model for entry in client.list().models]
    assert client.show(MODELS["plain"]).details is not None
    assert client.ps().models is not None


def embeddings():
    embedded = client.embed(model=MODELS["plain"], input=["one", "two"])
    assert len(embedded.embeddings) == 2 and embedded.embeddings[0], embedded


def overload():
    default = ollama.Client(host=URL, headers=HEADERS)
    say = lambda text: [{"role": "user", "content": text}]
    eight_at_once(lambda text: default.chat(model=MODELS["slow"], messages=say(text)).message.content)


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, lists, embeddings, overload])
