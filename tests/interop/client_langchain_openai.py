"""langchain-openai. Its own max_tokens travels as max_completion_tokens."""
from typing import Literal

import openai
from cells import *
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


def model(name, key=KEY, **more):
    return ChatOpenAI(model=name, base_url=URL + "/v1", api_key=key, max_retries=0, temperature=0, **more)


class Colour(BaseModel):
    colour: Literal["red", "blue"]
    sure: bool


def chat():
    answer = model(MODELS["plain"], extra_body={"max_tokens": 12}).invoke(HELLO)
    assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer


def stream():
    parts = list(model(MODELS["plain"], extra_body={"max_tokens": 12}).stream(HELLO))
    assert len(parts) > 1 and "".join(part.content for part in parts).strip(), parts


def tools_over_two_turns():
    tools = [
        {"type": "function", "function": {"name": name, "description": name, "parameters": what}}
        for name, what in TOOLS.items()
    ]
    caller = model(MODELS["caller"], extra_body={"max_tokens": 60}).bind_tools(tools)
    messages = [HumanMessage(ASK_TOOLS)]
    answer = caller.invoke(messages)
    check_calls([(call["name"], call["args"]) for call in answer.tool_calls])
    whole = None
    for part in caller.stream(messages):
        whole = part if whole is None else whole + part
    check_calls([(call["name"], call["args"]) for call in whole.tool_calls])
    messages.append(answer)
    messages += [ToolMessage(RESULTS[call["name"]], tool_call_id=call["id"]) for call in answer.tool_calls]
    check_after_tools(caller.invoke(messages).content)


def structured():
    asked = model(MODELS["plain"], extra_body={"max_tokens": 60}).with_structured_output(Colour, method="json_schema")
    check_colour(asked.invoke(ASK_COLOUR).model_dump())


def images():
    parts = [{"type": "text", "text": ASK_PICTURE}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    check_picture(model(MODELS["seer"]).invoke([HumanMessage(parts)]).content)


def thinking():
    # Of chat completions it reads no thoughts; of responses it does.
    thinker = model(MODELS["thinker"], use_responses_api=True, reasoning={"effort": "low", "summary": "auto"})
    answer = thinker.invoke(ASK_THOUGHT)
    blocks = [block for block in answer.content_blocks if block["type"] == "reasoning"]
    check_thought("".join(block.get("reasoning", "") for block in blocks), answer.text, "low")


def errors():
    assert MISSING in str(raises(openai.NotFoundError, lambda: model(MISSING).invoke(HELLO)))
    raises(openai.AuthenticationError, lambda: model(MODELS["plain"], WRONG_KEY).invoke(HELLO))
    bad = model(MODELS["plain"], extra_body={"max_tokens": "many"})
    raises(openai.BadRequestError, lambda: bad.invoke(HELLO))


def broken():
    raises(openai.APIError, lambda: list(model(MODELS["breaker"]).stream(HELLO)))
    raises(openai.InternalServerError, lambda: model(MODELS["breaker"]).invoke(HELLO))


def embeddings():
    # Token arrays are OpenAI's own; any other server is sent text.
    embedder = OpenAIEmbeddings(
        model=MODELS["plain"], base_url=URL + "/v1", api_key=KEY, max_retries=0, check_embedding_ctx_length=False
    )
    vectors = embedder.embed_documents(["one", "two"])
    assert len(vectors) == 2 and vectors[0], vectors


def overload():
    default = ChatOpenAI(model=MODELS["slow"], base_url=URL + "/v1", api_key=KEY)
    eight_at_once(lambda text: default.invoke(text).content)


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, embeddings, overload])
