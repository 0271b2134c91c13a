"""LlamaIndex, by its Ollama class. Its OpenAI classes need an older openai than the one pinned here."""
from typing import Literal

import ollama
from cells import *
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ThinkingBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel


def model(name, key=KEY, tokens=60, **more):
    headers = {"Authorization": "Bearer " + key}
    options = {"num_predict": tokens, "seed": 1}
    # Without a window it asks for what the model says it can, which reloads a real one.
    return Ollama(
        model=name, base_url=URL, temperature=0, headers=headers, context_window=4096, additional_kwargs=options, **more
    )


class Colour(BaseModel):
    colour: Literal["red", "blue"]
    sure: bool


def get_weather(city: str) -> str:
    """The weather."""
    return RESULTS["get_weather"]


def get_time(zone: str) -> str:
    """The time."""
    return RESULTS["get_time"]


tools = [FunctionTool.from_defaults(get_weather), FunctionTool.from_defaults(get_time)]
hello = [ChatMessage(role="user", content=HELLO)]


def chat():
    assert model(MODELS["plain"], tokens=12).chat(hello).message.content
    assert model(MODELS["plain"], tokens=12).complete("One, two,").text


def stream():
    parts = list(model(MODELS["plain"], tokens=12).stream_chat(hello))
    assert len(parts) > 1 and "".join(part.delta or "" for part in parts).strip(), parts


def tools_over_two_turns():
    caller = model(MODELS["caller"])
    messages = [ChatMessage(role="user", content=ASK_TOOLS)]
    ask = dict(tools=tools, chat_history=messages, allow_parallel_tool_calls=True)
    answer = caller.chat_with_tools(**ask)
    calls = caller.get_tool_calls_from_response(answer)
    check_calls([(call.tool_name, call.tool_kwargs) for call in calls])
    messages.append(answer.message)
    for call in calls:
        tool = next(tool for tool in tools if tool.metadata.name == call.tool_name)
        messages.append(ChatMessage(role="tool", content=str(tool(**call.tool_kwargs))))
    check_after_tools(caller.chat_with_tools(**ask).message.content)


def structured():
    answer = model(MODELS["plain"]).structured_predict(Colour, PromptTemplate(ASK_COLOUR))
    check_colour(answer.model_dump())


def images():
    blocks = [TextBlock(text=ASK_PICTURE), ImageBlock(image=PNG, image_mimetype="image/png")]
    check_picture(model(MODELS["seer"]).chat([ChatMessage(role="user", blocks=blocks)]).message.content)


def thinking():
    message = model(MODELS["thinker"], thinking="low").chat([ChatMessage(role="user", content=ASK_THOUGHT)]).message
    thoughts = [block.content for block in message.blocks if isinstance(block, ThinkingBlock)]
    check_thought("".join(thoughts), message.content, "low")


def errors():
    missing = raises(ollama.ResponseError, lambda: model(MISSING).chat(hello))
    assert missing.status_code == 404 and MISSING in missing.error, missing
    stranger = raises(ollama.ResponseError, lambda: model(MODELS["plain"], WRONG_KEY).chat(hello))
    assert stranger.status_code == 401, stranger
    bad = raises(ollama.ResponseError, lambda: model(MODELS["plain"], thinking=True).chat(hello))
    assert bad.status_code == 400 and "thinking" in bad.error, bad


def broken():
    parts = model(MODELS["breaker"]).stream_chat(hello)
    assert raises(ollama.ResponseError, lambda: list(parts)).error


def overload():
    default = Ollama(model=MODELS["slow"], base_url=URL, headers={"Authorization": "Bearer " + KEY}, context_window=4096)
    eight_at_once(lambda text: default.chat([ChatMessage(role="user", content=text)]).message.content)


run([chat, stream, tools_over_two_turns, structured, images, thinking, errors, broken, overload])
