/** The WWW-Authenticate header (RFC 9110): schemes with their parameters. */

export interface Challenge {
  /** Lower case. */
  scheme: string;
  /** Names in lower case. */
  parameters: ReadonlyMap<string, string>;
}

const HEADER_LENGTH_LIMIT = 8192;
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;

/** Reads as many challenges as are well-formed; a malformed rest is dropped. */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, HEADER_LENGTH_LIMIT);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let position = 0;

  const skip = (characters: string): void => {
    while (position < text.length && characters.includes(text.charAt(position))) position += 1;
  };
  const token = (): string => {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(text)?.[0] ?? "";
    position += match.length;
    return match;
  };
  const quoted = (): string | undefined => {
    let value = "";
    for (position += 1; position < text.length; position++) {
      const character = text.charAt(position);
      if (character === '"') {
        position += 1;
        return value;
      }
      if (character === "\\") position += 1;
      value += text.charAt(position);
    }
    return undefined;
  };

  for (;;) {
    skip(" \t,");
    const word = token();
    if (word === "") return challenges;
    skip(" \t");
    const current = challenges.at(-1);
    if (text.charAt(position) !== "=" || current === undefined) {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    position += 1;
    skip(" \t");
    const value = text.charAt(position) === '"' ? quoted() : token();
    if (value === undefined) return challenges;
    current.parameters.set(word.toLowerCase(), value);
  }
}
