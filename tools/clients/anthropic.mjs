import Anthropic from "@anthropic-ai/sdk";
const client = new Anthropic({ baseURL: process.env.URL, apiKey: "none", maxRetries: 0 });
const request = { model: process.env.MODEL, max_tokens: 8, messages: [{ role: "user", content: "Say hello." }] };
console.log("messages", (await client.messages.create(request)).content[0].type === "text");
console.log("stream", (await client.messages.stream(request).finalMessage()).content[0].text.length > 0);
