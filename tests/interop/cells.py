"""What the Python clients share: where the relay is, what is asked, how a cell is reported.

A client's script is a handful of functions, one a cell of docs/interop.md, and ends with `run`.
Against the stand-in every word of an answer is known (SCRIPTED); a real model only has to keep to
the form.
"""
import base64
import json
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

URL = os.environ["CAUSEWAY_URL"]
KEY = os.environ["CAUSEWAY_API_KEY"]
WRONG_KEY = "cw_00000000_wrong"
MODELS = json.loads(os.environ["CAUSEWAY_MODELS"])
SCRIPTED = os.environ["CAUSEWAY_SCRIPTED"] == "1"
MISSING = "no-such-model"

HELLO = "Say hello."
CALLERS = 8


def parameters(name):
    return {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}


# Names and parameters; each client wraps them as its dialect does.
TOOLS = {"get_weather": parameters("city"), "get_time": parameters("zone")}
RESULTS = {"get_weather": "21 degrees", "get_time": "noon"}
# The stand-in calls what is named; the small model repeats what its template shows.
ASK_TOOLS = "get_weather for city=Bonn, get_time for zone=UTC" if SCRIPTED else "Weather in Bonn and in Ulm?"

ASK_COLOUR = "colour=blue"
COLOURS = ("red", "blue")
SCHEMA = {
    "type": "object",
    "required": ["colour", "sure"],
    "properties": {"colour": {"type": "string", "enum": list(COLOURS)}, "sure": {"type": "boolean"}},
    "additionalProperties": False,
}

# One transparent dot.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
ASK_PICTURE = "What is this?"

ASK_THOUGHT = "Say green."


def check_calls(calls):
    """Calls as (name, arguments), in order."""
    if SCRIPTED:
        expected = [("get_weather", {"city": "Bonn"}), ("get_time", {"zone": "UTC"})]
        assert calls == expected, calls
    assert calls, "no tool was called"
    for name, arguments in calls:
        (argument,) = TOOLS[name]["required"]
        assert arguments[argument], calls


def check_after_tools(text):
    """The turn after the results; a real model may as well call again."""
    if SCRIPTED:
        assert text == "The tool said: 21 degrees; noon", text


def check_colour(answer):
    """The structured answer, parsed."""
    assert answer["colour"] in COLOURS and answer["sure"] in (True, False), answer
    if SCRIPTED:
        assert answer == {"colour": "blue", "sure": True}, answer


def check_picture(text):
    assert text == f"1 picture: png of {len(PNG)} bytes.", text


def check_thought(thinking, text, effort="default"):
    assert thinking.strip() and text.strip(), (thinking, text)
    if SCRIPTED:
        assert thinking == f"Effort {effort}. I was asked: {ASK_THOUGHT}", thinking


def raises(kind, act):
    """The exception that `act` must end with."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def eight_at_once(ask):
    """As many callers as eight times the slots; each gets its answer."""
    with ThreadPoolExecutor(CALLERS) as pool:
        texts = list(pool.map(lambda caller: ask(f"Caller {caller} waits."), range(CALLERS)))
    assert all(text.strip() for text in texts) and len(set(texts)) == CALLERS, texts


def run(cells):
    """Lists the cells, or runs those that standard input names, each when the one before is reported."""
    named = {cell.__name__: cell for cell in cells}
    if sys.argv[1:] == ["list"]:
        print(*named, sep="\n")
        return
    for line in sys.stdin:
        name = line.strip()
        try:
            named[name]()
            report = "ok"
        except Exception:
            report = "failed\n" + traceback.format_exc()
        print(f"cell {name} {report}\nend of cell", flush=True)
