// Which token wrote which part of a text.

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textOf(bytes) {
  try {
    return utf8.decode(Uint8Array.from(bytes));
  } catch {
    return null; // a part of a character
  }
}

/** The bytes of a token of completions: its text, or "bytes:\xe2\x96". */
export function bytesOf(token) {
  if (!token.startsWith('bytes:\\x')) return [...new TextEncoder().encode(token)];
  return token.slice('bytes:'.length).split('\\x').slice(1).map((digits) => parseInt(digits, 16));
}

/**
 * Cuts `text` into [{text, token}]: `token` is the number in `tokens` (lists of bytes) of the first token that wrote the
 * part, -1 if that is not known. Tokens whose text is not there (special ones, those of markup) are passed over.
 */
export function align(text, tokens) {
  const parts = [];
  let at = 0, held = [], first = 0;
  tokens.forEach((bytes, number) => {
    if (held.length === 0) first = number;
    held = held.concat(bytes);
    const word = textOf(held);
    if (word === null && held.length < 12) return;
    held = [];
    const found = word && [word, at === 0 ? word.trimStart() : ''].find((each) => each && text.startsWith(each, at));
    if (!found) return;
    parts.push({ text: found, token: first });
    at += found.length;
  });
  if (at < text.length) parts.push({ text: text.slice(at), token: -1 });
  return parts;
}
