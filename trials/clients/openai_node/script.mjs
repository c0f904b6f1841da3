// The openai npm package: whole replies, streams, tools, errors, and a form with its file first.
import assert from "node:assert/strict";
import OpenAI, { AuthenticationError, NotFoundError, RateLimitError, toFile } from "openai";

const { TRIAL_URL, TRIAL_KEY, TRIAL_WRONG_KEY, TRIAL_LIMITED_KEY, TRIAL_MODEL: model } = process.env;
const clientWith = (apiKey) => new OpenAI({ apiKey, baseURL: `${TRIAL_URL}/v1`, maxRetries: 0 });
const client = clientWith(TRIAL_KEY);
const messages = [{ role: "user", content: "Say hello" }];
const ask = { model, messages, max_completion_tokens: 16 };

const steps = {
  async chat() {
    const reply = await client.chat.completions.create(ask);
    assert.equal(reply.choices[0].message.content.split(" ").length, 16);
    assert.equal(reply.usage.total_tokens, 18);
    const response = await client.responses.create({ model, input: "Say hello", max_output_tokens: 16 });
    assert.equal(response.output_text.split(" ").length, 16);
  },
  async stream() {
    let text = "";
    let events = 0;
    for await (const event of await client.chat.completions.create({ ...ask, stream: true })) {
      text += event.choices[0]?.delta?.content ?? "";
      events += 1;
    }
    assert.ok(events > 2);
    assert.equal(text.split(" ").length, 16);
  },
  async tools() {
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const reply = await client.chat.completions.create({
      ...ask,
      tools: [{ type: "function", function: { name: "weather", parameters } }],
      tool_choice: "required",
    });
    assert.equal(reply.choices[0].message.tool_calls[0].function.name, "weather");
  },
  async errors() {
    await assert.rejects(client.chat.completions.create({ ...ask, model: "unknown" }), NotFoundError);
    await assert.rejects(clientWith(TRIAL_WRONG_KEY).chat.completions.create(ask), AuthenticationError);
    await assert.rejects(clientWith(TRIAL_LIMITED_KEY).chat.completions.create(ask), RateLimitError);
  },
  async more() {
    const embedded = await client.embeddings.create({ model, input: ["one", "two"] });
    assert.equal(embedded.data.length, 2);
    const file = await toFile(Buffer.alloc(100_000, 1), "a.mp3");
    const written = await client.audio.transcriptions.create({ file, model: "listens" });
    assert.equal(written.text, "alpha bravo");
  },
};

for (const [step, run] of Object.entries(steps)) {
  try {
    await run();
    console.log(JSON.stringify({ step, ok: true }));
  } catch (error) {
    console.log(JSON.stringify({ step, ok: false, why: String(error).slice(0, 300) }));
  }
}
