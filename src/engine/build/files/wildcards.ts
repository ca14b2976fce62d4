/** The wildcards of COPY and ADD: Go's filepath.Match (https://pkg.go.dev/path/filepath#Match). */
import { invalid } from "../../errors.ts";

export function hasWildcards(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (character === "\\") index += 1;
    else if (character === "*" || character === "?" || character === "[") return true;
  }
  return false;
}

export const withoutEscapes = (text: string): string => text.replace(/\\(.)/g, "$1");

export type CharacterTest = (character: string) => boolean;
type Part = "star" | CharacterTest;

/**
 * Matches one path component against one component of the pattern, in time linear in both: patterns come from strangers.
 * Throws EngineError `invalid` for a malformed pattern.
 */
export function componentMatcher(pattern: string): (name: string) => boolean {
  const parts = parse(pattern);
  return (name) => {
    let states = closed(new Set([0]), parts);
    for (const character of name) {
      const next = new Set<number>();
      for (const state of states) {
        const part = parts[state];
        if (part === "star") next.add(state);
        else if (part?.(character)) next.add(state + 1);
      }
      states = closed(next, parts);
    }
    return states.has(parts.length);
  };
}

/** A star may also match nothing. A set that grows while it is walked is walked to its new end. */
function closed(states: Set<number>, parts: readonly Part[]): Set<number> {
  for (const state of states) if (parts[state] === "star") states.add(state + 1);
  return states;
}

function parse(pattern: string): Part[] {
  const parts: Part[] = [];
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (character === "*") {
      if (parts.at(-1) !== "star") parts.push("star");
    } else if (character === "?") parts.push(() => true);
    else if (character === "[") {
      const { test, end } = parseSet(pattern, index);
      index = end;
      parts.push(test);
    } else {
      if (character === "\\") index += 1;
      const literal = pattern.charAt(index);
      if (literal === "") throw malformed(pattern);
      parts.push((text) => text === literal);
    }
  }
  return parts;
}

const malformed = (pattern: string): Error => invalid(`syntax error in pattern: ${pattern}`);

/** A set of characters such as `[a-z]` or `[^.]`, at `start` of the pattern; `end` is its last character. */
export function parseSet(pattern: string, start: number): { test: CharacterTest; end: number } {
  const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/.exec(pattern.slice(start));
  if (set === null) throw malformed(pattern);
  const matches = setMatcher(set[2] ?? "", pattern);
  return { test: set[1] === "^" ? (text) => !matches(text) : matches, end: start + set[0].length - 1 };
}

function setMatcher(text: string, pattern: string): CharacterTest {
  const ranges: [string, string][] = [];
  const characters = [...text.matchAll(/\\(.)|(.)/gsu)].map((match) => ({
    text: match[1] ?? match[2] ?? "",
    isDash: match[2] === "-",
  }));
  for (let index = 0; index < characters.length; index++) {
    const first = characters[index]?.text ?? "";
    if (characters[index + 1]?.isDash === true) {
      const last = characters[index + 2]?.text;
      if (last === undefined || last < first) throw malformed(pattern);
      ranges.push([first, last]);
      index += 2;
    } else ranges.push([first, first]);
  }
  return (character) => ranges.some(([first, last]) => character >= first && character <= last);
}
