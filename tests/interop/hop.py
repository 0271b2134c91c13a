"""Conversations whose turns are answered by the local model and by Bedrock's in turn, one function a
client. Where a turn goes is arranged by who runs this, who is asked before each; the client is not
told. The history is kept as each client's users keep it."""
import anthropic
import ollama
import openai
from cells import *
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

# Who answers and what is asked; nothing: the results of the tools that were called.
TURNS = (
    ("local", ASK_TOOLS),
    ("bedrock", None),
    ("local", ASK_THOUGHT),
    ("bedrock", ASK_TOOLS),
    ("local", None),
    ("bedrock", ASK_THOUGHT),
    ("local", ASK_THOUGHT),
    ("bedrock", ASK_TOOLS),
    ("bedrock", None),
)


def converse(ask, give, answer, effort):
    """`answer`: thoughts, text and calls (id, name, arguments); it is told whether tools are offered."""
    calls = []
    for where, asked in TURNS:
        ask(asked) if asked else give(calls)
        print(f"turn {where}", flush=True)
        assert sys.stdin.readline() == "go\n"
        thoughts, text, calls = answer(asked != ASK_THOUGHT)
        if asked == ASK_THOUGHT:
            check_thought(thoughts, text, effort)
            assert not calls, calls
        elif asked:
            check_calls([(name, arguments) for _, name, arguments in calls])
        else:
            check_after_tools(text)


def ollama_python():
    client = ollama.Client(host=URL, headers={"Authorization": "Bearer " + KEY})
    tools = [{"type": "function", "function": {"name": name, "parameters": what}} for name, what in TOOLS.items()]
    messages = []

    def give(calls):
        messages.extend({"role": "tool", "tool_name": name, "content": RESULTS[name]} for _, name, _ in calls)

    def answer(offered):
        ask = dict(model=MODELS["ollama_python"], messages=messages, tools=tools if offered else None)
        said = client.chat(**ask, think=True).message
        messages.append(said)
        calls = [("", call.function.name, dict(call.function.arguments)) for call in said.tool_calls or []]
        return said.thinking, said.content, calls

    converse(lambda text: messages.append({"role": "user", "content": text}), give, answer, "default")


def openai_python():
    client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
    tools = [{"type": "function", "function": {"name": name, "parameters": what}} for name, what in TOOLS.items()]
    messages = []

    def give(calls):
        messages.extend({"role": "tool", "tool_call_id": id, "content": RESULTS[name]} for id, name, _ in calls)

    def answer(offered):
        ask = dict(model=MODELS["openai_python"], messages=messages, reasoning_effort="low")
        said = client.chat.completions.create(**ask, **({"tools": tools} if offered else {})).choices[0].message
        messages.append(said)
        calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in said.tool_calls or []]
        return getattr(said, "reasoning", None), said.content, calls

    converse(lambda text: messages.append({"role": "user", "content": text}), give, answer, "low")


def anthropic_python():
    client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
    tools = [{"name": name, "input_schema": what} for name, what in TOOLS.items()]
    budget = {"type": "enabled", "budget_tokens": 1024}
    messages = []

    def give(calls):
        results = [{"type": "tool_result", "tool_use_id": id, "content": RESULTS[name]} for id, name, _ in calls]
        messages.append({"role": "user", "content": results})

    def answer(offered):
        # The stand-in says as much as it may.
        ask = dict(model=MODELS["anthropic_python"], max_tokens=1100, messages=messages, thinking=budget)
        # Streamed, as its helpers put thoughts and their seals together.
        with client.messages.stream(**ask, **({"tools": tools} if offered else {})) as events:
            content = events.get_final_message().content
        messages.append({"role": "assistant", "content": content})
        of = lambda kind: [block for block in content if block.type == kind]
        calls = [(call.id, call.name, call.input) for call in of("tool_use")]
        thoughts = "".join(block.thinking for block in of("thinking"))
        return thoughts, "".join(block.text for block in of("text")), calls

    converse(lambda text: messages.append({"role": "user", "content": text}), give, answer, "default")


def langchain_openai():
    # By responses: of chat completions it reads no thoughts.
    ask = dict(base_url=URL + "/v1", api_key=KEY, max_retries=0, use_responses_api=True)
    plain = ChatOpenAI(model=MODELS["langchain_openai"], reasoning={"effort": "low", "summary": "auto"}, **ask)
    functions = [
        {"type": "function", "function": {"name": name, "description": name, "parameters": what}}
        for name, what in TOOLS.items()
    ]
    able = plain.bind_tools(functions)
    messages = []

    def give(calls):
        messages.extend(ToolMessage(RESULTS[name], tool_call_id=id) for id, name, _ in calls)

    def answer(offered):
        said = (able if offered else plain).invoke(messages)
        messages.append(said)
        thoughts = [block.get("reasoning", "") for block in said.content_blocks if block["type"] == "reasoning"]
        return "".join(thoughts), said.text, [(call["id"], call["name"], call["args"]) for call in said.tool_calls]

    converse(lambda text: messages.append(HumanMessage(text)), give, answer, "low")


run([ollama_python, openai_python, anthropic_python, langchain_openai])
