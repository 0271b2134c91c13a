// ollama-js.
"use strict";

const { Ollama } = require("ollama");
const c = require("./cells.cjs");

const { assert, MODELS } = c;
const as = (key) => new Ollama({ host: c.URL, headers: { Authorization: `Bearer ${key}` } });
const client = as(c.KEY);
const options = { num_predict: 60, seed: 1, temperature: 0 };
const few = { ...options, num_predict: 12 };
const tools = Object.entries(c.TOOLS).map(([name, parameters]) => ({
  type: "function",
  function: { name, description: name, parameters },
}));
const ask = (content) => [{ role: "user", content }];
const content = (parts) => parts.map((part) => part.message.content).join("");

c.run({
  async chat() {
    const whole = await client.chat({ model: MODELS.plain, messages: c.HELLO, options: few });
    assert.ok(whole.done && whole.message.content && whole.eval_count > 0);
    const generated = await client.generate({ model: MODELS.plain, prompt: "One, two,", options: few });
    assert.ok(generated.done && generated.response);
  },

  async stream() {
    const parts = await c.all(
      await client.chat({ model: MODELS.plain, messages: c.HELLO, options: few, stream: true }),
    );
    assert.ok(parts.length > 1 && parts.at(-1).done && content(parts).trim());
    const pieces = await c.all(
      await client.generate({ model: MODELS.plain, prompt: "One, two,", options: few, stream: true }),
    );
    assert.ok(pieces.at(-1).done && pieces.map((piece) => piece.response).join(""));
  },

  async tools_over_two_turns() {
    for (const stream of [false, true]) {
      const messages = ask(c.ASK_TOOLS);
      const turn = async () => {
        const answer = await client.chat({ model: MODELS.caller, messages, tools, options, stream });
        return stream ? c.all(answer) : [answer];
      };
      const calls = (await turn()).flatMap((part) => part.message.tool_calls ?? []);
      c.checkCalls(calls.map((call) => [call.function.name, call.function.arguments]));
      messages.push({ role: "assistant", content: "", tool_calls: calls });
      for (const { function: { name } } of calls) {
        messages.push({ role: "tool", tool_name: name, content: c.RESULTS[name] });
      }
      c.checkAfterTools(content(await turn()));
    }
  },

  async structured() {
    const messages = ask(c.ASK_COLOUR);
    const answer = await client.chat({ model: MODELS.plain, messages, format: c.SCHEMA, options });
    c.checkColour(JSON.parse(answer.message.content));
  },

  async images() {
    const messages = [{ role: "user", content: c.ASK_PICTURE, images: [c.PNG] }];
    c.checkPicture((await client.chat({ model: MODELS.seer, messages })).message.content);
  },

  async thinking() {
    const messages = ask(c.ASK_THOUGHT);
    const { message } = await client.chat({ model: MODELS.thinker, messages, think: "low", options });
    c.checkThought(message.thinking, message.content, "low");
    const parts = await c.all(
      await client.chat({ model: MODELS.thinker, messages, think: true, options, stream: true }),
    );
    c.checkThought(parts.map((part) => part.message.thinking ?? "").join(""), content(parts));
  },

  async errors() {
    const missing = await c.raises(() => client.chat({ model: c.MISSING, messages: c.HELLO }));
    assert.ok(missing.status_code === 404 && missing.message.includes(c.MISSING), String(missing));
    assert.equal((await c.raises(() => as(c.WRONG_KEY).list())).status_code, 401);
    const bad = await c.raises(() => client.chat({ model: MODELS.plain, messages: c.HELLO, think: true }));
    assert.ok(bad.status_code === 400 && bad.message.includes("thinking"), String(bad));
  },

  async broken() {
    const parts = await client.chat({ model: MODELS.breaker, messages: c.HELLO, stream: true });
    assert.ok((await c.raises(() => c.all(parts))).message);
  },

  async lists() {
    assert.ok((await client.list()).models.some((entry) => entry.model === MODELS.plain));
    assert.ok((await client.show({ model: MODELS.plain })).details);
    assert.ok((await client.ps()).models);
  },

  async embeddings() {
    const { embeddings } = await client.embed({ model: MODELS.plain, input: ["one", "two"] });
    assert.ok(embeddings.length === 2 && embeddings[0].length > 0);
  },

  async overload() {
    await c.eightAtOnce(async (text) => (await client.chat({ model: MODELS.slow, messages: ask(text) })).message.content);
  },
});
