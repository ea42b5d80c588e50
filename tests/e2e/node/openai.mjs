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
  streamedCompletion: async (args) => collect(await client.completions.create(
    {model: 'm', prompt: 'Rivers', stream: true, ...args})),
  // The SDK's own putting together of a stream.
  finalChat: ({options, ...args}) => client.chat.completions.stream(
    {model: 'm', messages, ...args}, options).finalChatCompletion(),
  finalResponse: ({options, ...args}) => client.responses.stream(
    {model: 'm', input: 'Rivers', ...args}, options).finalResponse(),
  streamedResponse: async ({options, ...args}) =>
    collect(await client.responses.create(
      {model: 'm', input: 'Rivers', stream: true, ...args}, options)),
  // The timeout is the client's, and not this request's.
  patientChat: async ({timeout}) => collect(
    await client.withOptions({timeout}).chat.completions.create(
      {model: 'm', messages, stream: true})),
  // With the headers, which hold what is left of the limit.
  headers: async (args) => {
    const {response} = await ask(args).withResponse();
    return Object.fromEntries(response.headers);
  },
});
