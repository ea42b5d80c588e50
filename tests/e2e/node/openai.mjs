// What a program does that is written with OpenAI's SDK.  Base URL and key come
// from its own variables: OPENAI_BASE_URL, OPENAI_API_KEY.
import OpenAI from 'openai';

import {collect, leave, show} from './show.mjs';

const messages = [{role: 'user', content: 'Tell me about rivers.'}];
const client = new OpenAI();

// `mock` is for the pretend model server; the SDK passes it on.
const ask = ({options, ...members}, more = {}) =>
  client.chat.completions.create(
    {model: 'm', messages, ...members, ...more}, options);

await show({
  chat: ask,
  stream: async (args) => collect(await ask(args, {stream: true})),
  leave: async ({after, ...args}) =>
    leave(await ask(args, {stream: true}), after),
  completion: (args) =>
    client.completions.create({model: 'm', prompt: 'Rivers', ...args}),
  embeddings: (args) =>
    client.embeddings.create({model: 'm', input: ['one', 'two'], ...args}),
  models: async () => (await client.models.list()).data,
  model: ({id}) => client.models.retrieve(id),
  response: (args) =>
    client.responses.create({model: 'm', input: 'Rivers', ...args}),
  streamedResponse: async (args) => collect(await client.responses.create(
    {model: 'm', input: 'Rivers', stream: true, ...args})),
  // With the headers, which hold what is left of the limit.
  headers: async (args) => {
    const {response} = await ask(args).withResponse();
    return Object.fromEntries(response.headers);
  },
});
