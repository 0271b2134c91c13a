"""langchain-ollama. It has no retries of its own."""
from typing import Literal

import ollama
from cells import *
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings
from pydantic import BaseModel


def headers(key=KEY):
    return {"headers": {"Authorization": "Bearer " + key}}


def model(name, key=KEY, **more):
    settings = {"num_predict": 60, "seed": 1, "temperature": 0, **more}
    return ChatOllama(model=name, base_url=URL, client_kwargs=headers(key), **settings)


class Colour(BaseModel):
    colour: Literal["red", "blue"]
    sure: bool


tools = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": what}}
    for name, what in TOOLS.items()
]


def chat():
    answer = model(MODELS["plain"], num_predict=12).invoke(HELLO)
    assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer


def stream():
    parts = list(model(MODELS["plain"], num_predict=12).stream(HELLO))
    assert len(parts) > 1 and "".join(part.content for part in parts).strip(), parts
    assert any(part.response_metadata for part in parts)


def tools_over_two_turns():
    caller = model(MODELS["caller"]).bind_tools(tools)
    messages = [HumanMessage(ASK_TOOLS)]
    answer = caller.invoke(messages)
    check_calls([(call["name"], call["args"]) for call in answer.tool_calls])
    messages.append(answer)
    for call in answer.tool_calls:
        messages.append(ToolMessage(RESULTS[call["name"]], tool_call_id=call["id"], name=call["name"]))
    check_after_tools(caller.invoke(messages).content)
    check_after_tools("".join(part.content for part in caller.stream(messages)))


def structured():
    answer = model(MODELS["plain"]).with_structured_output(Colour, method="json_schema").invoke(ASK_COLOUR)
    check_colour(answer.model_dump())


def images():
    parts = [{"type": "text", "text": ASK_PICTURE}, {"type": "image_url", "image_url": PNG_URL}]
    check_picture(model(MODELS["seer"]).invoke([HumanMessage(parts)]).content)


def thinking():
    answer = model(MODELS["thinker"], reasoning=True).invoke(ASK_THOUGHT)
    check_thought(answer.additional_kwargs["reasoning_content"], answer.content)
    parts = list(model(MODELS["thinker"], reasoning="low").stream(ASK_THOUGHT))
    thought = "".join(part.additional_kwargs.get("reasoning_content", "") for part in parts)
    check_thought(thought, "".join(part.content for part in parts), "low")


def errors():
    missing = raises(ollama.ResponseError, lambda: model(MISSING).invoke(HELLO))
    assert missing.status_code == 404 and MISSING in missing.error, missing
    stranger = raises(ollama.ResponseError, lambda: model(MODELS["plain"], WRONG_KEY).invoke(HELLO))
    assert stranger.status_code == 401, stranger
    bad = raises(ollama.ResponseError, lambda: model(MODELS["plain"], reasoning=True).invoke(HELLO))
    assert bad.status_code == 400 and "thinking" in bad.error, bad


def broken():
    assert raises(ollama.ResponseError, lambda: model(MODELS["breaker"]).invoke(HELLO)).error


def embeddings():
    embedder = OllamaEmbeddings(model=MODELS["plain"], base_url=URL, client_kwargs=headers())
    vectors = embedder.embed_documents(["one", "two"])
    assert len(vectors) == 2 and vectors[0], vectors


def overload():
    default = ChatOllama(model=MODELS["slow"], base_url=URL, client_kwargs=headers())
    eight_at_once(lambda text: default.invoke(text).content)


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, embeddings, overload])
