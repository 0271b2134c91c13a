// openai-node.
"use strict";

const OpenAI = require("openai").default;
const c = require("./cells.cjs");

const { assert, MODELS } = c;
const as = (apiKey, more) => new OpenAI({ baseURL: `${c.URL}/v1`, apiKey, ...more });
const client = as(c.KEY, { maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];

c.run({
  async chat() {
    const whole = await client.chat.completions.create({ model: MODELS.plain, messages: c.HELLO, max_tokens: 12 });
    assert.ok(whole.choices[0].message.content && whole.usage.completion_tokens > 0);
    const completion = await client.completions.create({ model: MODELS.plain, prompt: "One, two,", max_tokens: 8 });
    assert.ok(completion.choices[0].text);
    const response = await client.responses.create({ model: MODELS.plain, input: "Say hello.", max_output_tokens: 12 });
    assert.ok(response.output_text);
  },

  async stream() {
    const chunks = await c.all(
      await client.chat.completions.create({
        model: MODELS.plain,
        messages: c.HELLO,
        max_tokens: 12,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assert.ok(text.trim() && chunks.at(-1).usage.completion_tokens > 0);
    assert.ok(chunks.some((chunk) => chunk.choices[0]?.finish_reason));
    const events = await c.all(
      await client.responses.create({ model: MODELS.plain, input: "Say hello.", max_output_tokens: 12, stream: true }),
    );
    // At its limit an answer is incomplete, as OpenAI says; Ollama itself calls it completed.
    assert.ok(["response.completed", "response.incomplete"].includes(events.at(-1).type));
  },

  async errors() {
    const chat = (more) => client.chat.completions.create({ model: MODELS.plain, messages: c.HELLO, ...more });
    const missing = await c.raises(() => chat({ model: c.MISSING }));
    assert.ok(missing instanceof OpenAI.NotFoundError && missing.message.includes(c.MISSING), String(missing));
    const stranger = await c.raises(() => as(c.WRONG_KEY, { maxRetries: 0 }).models.list());
    assert.ok(stranger instanceof OpenAI.AuthenticationError && stranger.code === "unauthorized", String(stranger));
    const bad = await c.raises(() => chat({ max_tokens: "many" }));
    assert.ok(bad instanceof OpenAI.BadRequestError, String(bad));
  },

  async lists() {
    const models = await c.all(await client.models.list());
    assert.ok(models.some((entry) => entry.id === MODELS.plain));
  },

  async embeddings() {
    const embedded = await client.embeddings.create({ model: MODELS.plain, input: ["one", "two"] });
    assert.ok(embedded.data.length === 2 && embedded.data[0].embedding.length > 0);
  },

  async overload() {
    const patient = as(c.KEY);
    await c.eightAtOnce(async (text) => {
      const answer = await patient.chat.completions.create({ model: MODELS.slow, messages: ask(text) });
      return answer.choices[0].message.content;
    });
  },
});
