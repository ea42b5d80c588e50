// Runs the scenario that the command line names, and prints what the SDK made of
// it as one line of JSON: {"result": …}, or {"error": …} as the SDK threw it.

function describe(error) {
  return {
    name: error.constructor.name, status: error.status, code: error.code,
    type: error.type, body: error.error, message: error.message,
    headers: error.headers ? Object.fromEntries(error.headers) : null,
  };
}

export async function show(scenarios) {
  const [name, argument] = process.argv.slice(2);
  let seen;
  try {
    seen = {result: await scenarios[name](JSON.parse(argument ?? '{}'))};
  } catch (error) {
    seen = {error: describe(error)};
  }
  console.log(JSON.stringify(seen));
}

// All events of a stream, with the moment of each in milliseconds.
export async function collect(stream) {
  const events = [], times = [];
  for await (const event of stream) {
    events.push(event);
    times.push(performance.now());
  }
  return {events, times};
}

// The first `count` events; then the stream is left.
export async function leave(stream, count) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length === count) {
      stream.controller.abort();
      break;
    }
  }
  return events;
}
