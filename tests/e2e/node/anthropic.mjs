// What a program does that is written with Anthropic's SDK.  Base URL and key
// come from its own variables: ANTHROPIC_BASE_URL, and ANTHROPIC_API_KEY or
// ANTHROPIC_AUTH_TOKEN.
import Anthropic from '@anthropic-ai/sdk';

import {collect, leave, show} from './show.mjs';

const messages = [{role: 'user', content: 'Tell me about rivers.'}];
const client = new Anthropic();

const ask = ({options, ...members}, more = {}) => client.messages.create(
  {model: 'm', max_tokens: 16, messages, ...members, ...more}, options);

await show({
  message: ask,
  stream: async (args) => collect(await ask(args, {stream: true})),
  // The SDK's own putting together of a stream.
  finalMessage: ({options, ...args}) => client.messages.stream(
    {model: 'm', max_tokens: 16, messages, ...args}, options).finalMessage(),
  // The timeout is the client's, and not this request's.
  patientMessage: async ({timeout}) => collect(
    await client.withOptions({timeout}).messages.create(
      {model: 'm', max_tokens: 16, messages, stream: true})),
  leave: async ({after, ...args}) =>
    leave(await ask(args, {stream: true}), after),
  countTokens: (args) =>
    client.messages.countTokens({model: 'm', messages, ...args}),
  // As Claude Code asks: POST /v1/messages?beta=true.
  beta: (args) => client.beta.messages.create(
    {model: 'm', max_tokens: 16, messages, ...args}),
});
