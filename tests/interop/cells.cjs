// What the Node clients share; the twin of cells.py, which says why things are so.
"use strict";

const assert = require("node:assert/strict");
const readline = require("node:readline");

const SCRIPTED = process.env.CAUSEWAY_SCRIPTED === "1";
const MODELS = JSON.parse(process.env.CAUSEWAY_MODELS);
const CALLERS = 8;
const ASK_THOUGHT = "Say green.";

const parameters = (name) => ({ type: "object", required: [name], properties: { [name]: { type: "string" } } });
const TOOLS = { get_weather: parameters("city"), get_time: parameters("zone") };

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

// Calls as [name, arguments], in order.
function checkCalls(calls) {
  if (SCRIPTED) {
    assert.deepEqual(calls, [["get_weather", { city: "Bonn" }], ["get_time", { zone: "UTC" }]]);
  }
  assert.ok(calls.length > 0, "no tool was called");
  for (const [name, given] of calls) {
    assert.ok(given[TOOLS[name].required[0]], JSON.stringify(calls));
  }
}

function checkAfterTools(text) {
  if (SCRIPTED) assert.equal(text, "The tool said: 21 degrees; noon");
}

function checkColour(answer) {
  assert.ok(["red", "blue"].includes(answer.colour) && typeof answer.sure === "boolean", JSON.stringify(answer));
  if (SCRIPTED) assert.deepEqual(answer, { colour: "blue", sure: true });
}

function checkPicture(text) {
  assert.equal(text, `1 picture: png of ${Buffer.from(PNG, "base64").length} bytes.`);
}

function checkThought(thinking, text, effort = "default") {
  assert.ok(thinking.trim() && text.trim(), `${thinking} | ${text}`);
  if (SCRIPTED) assert.equal(thinking, `Effort ${effort}. I was asked: ${ASK_THOUGHT}`);
}

// The error that `act` must end with.
async function raises(act) {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "no error" });
}

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function eightAtOnce(ask) {
  const texts = await Promise.all(Array.from({ length: CALLERS }, (_, caller) => ask(`Caller ${caller} waits.`)));
  assert.ok(texts.every((text) => text.trim()) && new Set(texts).size === CALLERS, JSON.stringify(texts));
}

async function run(cells) {
  if (process.argv[2] === "list") {
    console.log(Object.keys(cells).join("\n"));
    return;
  }
  for await (const name of readline.createInterface({ input: process.stdin })) {
    let report = "ok";
    try {
      await cells[name]();
    } catch (error) {
      report = `failed\n${error.stack}`;
    }
    console.log(`cell ${name} ${report}\nend of cell`);
  }
}

module.exports = {
  SCRIPTED, MODELS, TOOLS, PNG, ASK_THOUGHT,
  URL: process.env.CAUSEWAY_URL,
  KEY: process.env.CAUSEWAY_API_KEY,
  WRONG_KEY: "cw_00000000_wrong",
  MISSING: "no-such-model",
  HELLO: [{ role: "user", content: "Say hello." }],
  RESULTS: { get_weather: "21 degrees", get_time: "noon" },
  ASK_TOOLS: SCRIPTED ? "get_weather for city=Bonn, get_time for zone=UTC" : "Weather in Bonn and in Ulm?",
  ASK_COLOUR: "colour=blue",
  ASK_PICTURE: "What is this?",
  SCHEMA: {
    type: "object",
    required: ["colour", "sure"],
    properties: { colour: { type: "string", enum: ["red", "blue"] }, sure: { type: "boolean" } },
    additionalProperties: false,
  },
  assert, checkCalls, checkAfterTools, checkColour, checkPicture, checkThought, raises, all, eightAtOnce, run,
};
