// A small OpenAI-compatible server around node-llama-cpp, for the tests that ask a real model.
// Started by local-model.sh: node local-model.mjs MODEL.gguf NAME URL-FILE
// Answers GET /v1/models and POST /v1/chat/completions with response_format json_schema; goes away when idle.
import { createServer } from "node:http";
import { renameSync, writeFileSync } from "node:fs";
import { getLlama, LlamaChatSession } from "node-llama-cpp";

const [path, name, urlFile] = process.argv.slice(2);
const IDLE_MS = 10 * 60 * 1000;

const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
// one thread: on a busy machine llama.cpp's threads wait for one another, 150 s instead of 25 s on two cores
const context = await model.createContext({ contextSize: 8192, threads: 1 });

let idle = setTimeout(() => process.exit(0), IDLE_MS);
let turn = Promise.resolve(); // one question at a time

async function complete(request) {
  const system = request.messages.filter((m) => m.role === "system").map((m) => m.content).join("\n");
  const prompt = request.messages.filter((m) => m.role === "user").map((m) => m.content).join("\n");
  const schema = request.response_format?.json_schema?.schema;
  const grammar = schema && (await llama.createGrammarForJsonSchema(schema));
  const sequence = context.getSequence();
  try {
    const session = new LlamaChatSession({ contextSequence: sequence, systemPrompt: system });
    const before = sequence.tokenMeter.getState();
    const { responseText, stopReason } = await session.promptWithMeta(prompt, {
      grammar,
      maxTokens: request.max_tokens ?? 1024,
      temperature: 0,
    });
    const used = sequence.tokenMeter.diff(before);
    return {
      id: "local", object: "chat.completion", created: 0, model: name,
      choices: [{
        index: 0,
        finish_reason: stopReason === "maxTokens" ? "length" : "stop",
        message: { role: "assistant", content: responseText },
      }],
      usage: { prompt_tokens: used.usedInputTokens, completion_tokens: used.usedOutputTokens },
    };
  } finally {
    sequence.dispose();
  }
}

async function answer(request, body) {
  if (request.method === "GET" && request.url === "/v1/models") {
    return [200, { object: "list", data: [{ id: name, object: "model" }] }];
  }
  if (request.method !== "POST" || request.url !== "/v1/chat/completions") {
    return [404, { error: { type: "not_found_error", message: request.url } }];
  }
  const asked = JSON.parse(body);
  if (asked.model !== name) {
    return [404, { error: { type: "not_found_error", code: "model_not_found", message: `model: ${asked.model}` } }];
  }
  turn = turn.catch(() => {}).then(() => complete(asked));
  return [200, await turn];
}

const server = createServer(async (request, response) => {
  idle.refresh();
  let body = "";
  for await (const chunk of request) body += chunk;
  const [status, value] = await answer(request, body).catch((error) => [
    error instanceof SyntaxError ? 400 : 500,
    { error: { type: "api_error", message: String(error) } },
  ]);
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
});

server.listen(0, "127.0.0.1", () => {
  // whole or not at all: somebody is waiting for this file
  writeFileSync(`${urlFile}.new`, `http://127.0.0.1:${server.address().port}\n`);
  renameSync(`${urlFile}.new`, urlFile);
});
