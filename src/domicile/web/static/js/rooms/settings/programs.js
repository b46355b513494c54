/** What each program is told so that it asks this house: pure text, to be copied. `key` is any word where no key is asked. */

/** @typedef {{origin: string, model: string, key: string}} Facts */
/** @typedef {{id: string, name: string, language: string, text: (facts: Facts) => string}} Program */

/** A word for a POSIX shell. @param {string} word */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** A string as YAML, Python and JavaScript read it. */
const literal = JSON.stringify;

/** Each as its own documentation has it: Continue's `config.yaml`, aider's environment, Claude Code's, OpenAI's client.
 * @type {Program[]} */
export const PROGRAMS = [
  {
    id: "continue",
    name: "VS Code, JetBrains (Continue)",
    language: "yaml",
    text: ({ origin, model, key }) => `name: Domicile
version: 0.0.1
schema: v1
models:
  - name: ${literal(model)}
    provider: openai
    model: ${literal(model)}
    apiBase: ${origin}/v1
    apiKey: ${literal(key)}
`,
  },
  {
    id: "aider",
    name: "aider",
    language: "sh",
    text: ({ origin, model, key }) => `export OPENAI_API_BASE=${origin}/v1
export OPENAI_API_KEY=${quoted(key)}
aider --model ${quoted(`openai/${model}`)}
`,
  },
  {
    id: "claude",
    name: "Claude Code",
    language: "sh",
    text: ({ origin, model, key }) => `export ANTHROPIC_BASE_URL=${origin}
export ANTHROPIC_AUTH_TOKEN=${quoted(key)}
claude --model ${quoted(model)}
`,
  },
  {
    id: "python",
    name: "Python (openai)",
    language: "python",
    text: ({ origin, model, key }) => `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${literal(key)})
answer = client.chat.completions.create(
    model=${literal(model)},
    messages=[{"role": "user", "content": "Bonjour"}],
)
print(answer.choices[0].message.content)
`,
  },
  {
    id: "javascript",
    name: "JavaScript (openai)",
    language: "javascript",
    text: ({ origin, model, key }) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: ${literal(key)} });
const answer = await client.chat.completions.create({
  model: ${literal(model)},
  messages: [{ role: "user", content: "Bonjour" }],
});
console.log(answer.choices[0].message.content);
`,
  },
  {
    id: "curl",
    name: "curl",
    language: "sh",
    text: ({ origin, model, key }) => `curl ${origin}/v1/chat/completions \\
  -H ${quoted(`Authorization: Bearer ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${quoted(JSON.stringify({ model, messages: [{ role: "user", content: "Bonjour" }] }))}
`,
  },
];
