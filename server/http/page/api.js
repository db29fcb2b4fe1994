// What the page asks of the daemon. The tenant's key stays in the tab.

const KEY = 'hydrad-key';

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (text) => text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY),
};

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, body, signal) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method: body ? 'POST' : 'GET', headers, signal, body: body && JSON.stringify(body) });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new ApiError(answer.status, told?.error?.message ?? `${answer.status} ${answer.statusText}`);
}

export const getJson = async (path) => (await ask(path)).json();

/** The events of a stream, each as an object; one that tells of an error is thrown. */
export async function* events(path, body, signal) {
  const answer = await ask(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split('\n\n');
    held = parts.pop();
    for (const part of parts) {
      if (!part.startsWith('data: ')) continue;
      if (part === 'data: [DONE]') return;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new ApiError(0, event.error.message);
      yield event;
    }
  }
}
