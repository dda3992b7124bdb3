import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: process.env.URL + "/v1", apiKey: "none", maxRetries: 0 });
const model = process.env.MODEL, messages = [{ role: "user", content: "Say hello." }];
const whole = await client.chat.completions.create({ model, messages, max_tokens: 8 });
console.log("call", typeof whole.choices[0].message.content === "string");
let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 8, stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
console.log("stream", text.length > 0);
const response = await client.responses.create({ model, input: "Say hello.", max_output_tokens: 8 });
const next = await client.responses.create({ model, input: "Again.", previous_response_id: response.id, max_output_tokens: 8 });
console.log("responses", next.previous_response_id === response.id);
const line = JSON.stringify({ custom_id: "a", method: "POST", url: "/v1/chat/completions", body: { model, messages, max_tokens: 8 } });
const file = await client.files.create({ file: await toFile(Buffer.from(line), "b.jsonl"), purpose: "batch" });
let batch = await client.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
while (!["completed", "failed"].includes(batch.status)) { await new Promise((done) => setTimeout(done, 500)); batch = await client.batches.retrieve(batch.id); }
console.log("batch", (await (await client.files.content(batch.output_file_id)).text()).includes('"custom_id":"a"'));
