// What can be asked of a model, and the same request as curl and as Python with OpenAI's SDK.

/** By task: the endpoint, what is sent, and how Python asks. `root` says that the path is not below `/v1`. */
export const TASKS = {
  generate: {
    label: "Chat",
    path: "v1/chat/completions",
    body: (model, { messages, temperature, maxTokens }) => ({
      model,
      messages,
      ...(temperature === null ? {} : { temperature }),
      ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
      stream: true,
      stream_options: { include_usage: true },
    }),
    python: (body) => `stream = client.chat.completions.create(\n${keywords(body)}\n)\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()`,
  },
  classify: {
    label: "Classify",
    path: "classify",
    root: true,
    body: (model, { text }) => ({ model, input: text }),
    python: posted("/classify"),
  },
  embed: {
    label: "Embed",
    path: "v1/embeddings",
    body: (model, { text }) => ({ model, input: text }),
    python: (body) => `answer = client.embeddings.create(\n${keywords(body)}\n)\nprint(answer.data[0].embedding)`,
  },
  moderate: {
    label: "Moderate",
    path: "v1/moderations",
    body: (model, { text }) => ({ model, input: text }),
    python: (body) => `answer = client.moderations.create(\n${keywords(body)}\n)\nprint(answer.results[0])`,
  },
  token_classify: {
    label: "Find spans",
    path: "pooling",
    root: true,
    body: (model, { text }) => ({ model, input: text, task: "token_classify" }),
    python: posted("/pooling"),
  },
};

function posted(path) {
  return (body) => `answer = client.post(\n    "${path}",\n    cast_to=object,\n    body=${literal(body)},\n)\nprint(answer)`;
}

/** The tasks of a model that the playground knows. */
export const tasksOf = (model) => Object.keys(TASKS).filter((task) => model.tasks.includes(task));

/** The request as a line for a shell; the key is in the environment, never in the text. */
export function curl(api, task, body, keyed) {
  const lines = [`curl${body.stream ? " -N" : ""} ${api}/${TASKS[task].path}`, "-H 'content-type: application/json'"];
  if (keyed) lines.push('-H "authorization: Bearer $API_KEY"');
  lines.push(`-d '${JSON.stringify(body, null, 2).replaceAll("'", String.raw`'\''`)}'`);
  return lines.join(" \\\n  ");
}

/** The request as a program that runs as it is, where `openai` is installed. */
export function python(api, task, body, keyed) {
  const { root, python: write } = TASKS[task];
  const imports = keyed ? "import os\n\nfrom openai import OpenAI" : "from openai import OpenAI";
  const key = keyed ? 'os.environ["API_KEY"]' : '"none"';
  return `${imports}\n\nclient = OpenAI(base_url="${api}${root ? "" : "/v1"}", api_key=${key})\n${write(body)}\n`;
}

function keywords(body) {
  return Object.entries(body).map(([name, value]) => `    ${name}=${literal(value, 1)},`).join("\n");
}

/** A value of JSON as Python writes it. */
function literal(value, depth = 1) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = "    ".repeat(depth + 1);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value)
    ? value.map((each) => literal(each, depth + 1))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each, depth + 1)}`);
  if (parts.join(", ").length < 70 && !parts.some((part) => part.includes("\n"))) return `${open}${parts.join(", ")}${close}`;
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
