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

  async tools_over_two_turns() {
    const tools = Object.entries(c.TOOLS).map(([name, parameters]) => ({
      type: "function",
      function: { name, parameters },
    }));
    const messages = ask(c.ASK_TOOLS);
    const turn = { model: MODELS.caller, messages, tools, temperature: 0, seed: 1, max_tokens: 60 };
    const { message } = (await client.chat.completions.create(turn)).choices[0];
    const plain = (calls) => calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
    c.checkCalls(plain(message.tool_calls));
    // The client's own helper puts the pieces of calls together.
    const streamed = await client.chat.completions.stream(turn).finalMessage();
    c.checkCalls(plain(streamed.tool_calls));
    messages.push(message);
    for (const { id, function: { name } } of message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: id, content: c.RESULTS[name] });
    }
    c.checkAfterTools((await client.chat.completions.create(turn)).choices[0].message.content);
  },

  async structured() {
    const answer = await client.chat.completions.create({
      model: MODELS.plain,
      messages: ask(c.ASK_COLOUR),
      response_format: { type: "json_schema", json_schema: { name: "colour", schema: c.SCHEMA, strict: true } },
      temperature: 0,
      max_tokens: 60,
    });
    c.checkColour(JSON.parse(answer.choices[0].message.content));
  },

  async images() {
    const content = [
      { type: "text", text: c.ASK_PICTURE },
      { type: "image_url", image_url: { url: `data:image/png;base64,${c.PNG}` } },
    ];
    const answer = await client.chat.completions.create({ model: MODELS.seer, messages: ask(content) });
    c.checkPicture(answer.choices[0].message.content);
  },

  async thinking() {
    const turn = {
      model: MODELS.thinker,
      messages: ask(c.ASK_THOUGHT),
      reasoning_effort: "low",
      temperature: 0,
      max_tokens: 60,
    };
    const { message } = (await client.chat.completions.create(turn)).choices[0];
    c.checkThought(message.reasoning, message.content, "low");
    const chunks = await c.all(await client.chat.completions.create({ ...turn, stream: true }));
    const joined = (key) => chunks.map((chunk) => chunk.choices[0].delta[key] ?? "").join("");
    c.checkThought(joined("reasoning"), joined("content"), "low");
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

  async broken() {
    const turn = { model: MODELS.breaker, messages: c.HELLO };
    const cut = await c.raises(async () => c.all(await client.chat.completions.create({ ...turn, stream: true })));
    assert.ok(cut instanceof OpenAI.APIError, String(cut));
    const whole = await c.raises(() => client.chat.completions.create(turn));
    assert.ok(whole instanceof OpenAI.InternalServerError, String(whole));
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
