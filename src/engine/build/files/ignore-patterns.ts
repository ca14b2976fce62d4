/**
 * The patterns of .dockerignore and of COPY --exclude (https://docs.docker.com/build/concepts/context/#dockerignore-files).
 * All states of a pattern are followed at once: patterns and paths come from strangers, and regular expressions made of such
 * patterns can take for ever.
 */
import { invalid } from "../../errors.ts";
import { IGNORE_PATTERNS_LIMIT, PATH_LIMIT } from "../limits.ts";
import { cleaned } from "./paths.ts";
import { type CharacterTest, parseSet } from "./wildcards.ts";

export interface IgnorePatterns {
  ignores(path: string): boolean;
  /** A pattern with `!` may take back in what is below an ignored directory. */
  hasExceptions: boolean;
}

/** Throws EngineError `invalid` for a malformed pattern. */
export function ignorePatterns(lines: readonly string[]): IgnorePatterns {
  const patterns = lines.flatMap(parseLine);
  if (patterns.length > IGNORE_PATTERNS_LIMIT) throw invalid(`more than ${IGNORE_PATTERNS_LIMIT} patterns`);
  return {
    hasExceptions: patterns.some(({ isException }) => isException),
    // The last pattern that matches decides.
    ignores: (path) =>
      !(patterns.findLast(({ automaton }) => matchesPathOrParent(automaton, path))?.isException ?? true),
  };
}

function parseLine(line: string): { isException: boolean; automaton: Automaton }[] {
  const text = line.trim();
  if (text === "" || text.startsWith("#")) return [];
  const isException = text.startsWith("!");
  const pattern = (isException ? text.slice(1) : text).trim();
  if (pattern === "") throw invalid(`illegal exclusion pattern: ${JSON.stringify(line)}`);
  if (pattern.length > PATH_LIMIT) throw invalid(`an exclusion pattern is longer than ${PATH_LIMIT} characters`);
  const path = cleaned(pattern);
  return path === "" ? [] : [{ isException, automaton: parsePattern(path) }];
}

interface State {
  edges: { test: CharacterTest; to: number }[];
  /** States that are entered with this one. */
  with: number[];
}
/** It begins in its first state, and accepts in its last one. */
type Automaton = readonly State[];

const notSlash: CharacterTest = (character) => character !== "/";
const anything: CharacterTest = () => true;
const slash: CharacterTest = (character) => character === "/";

class AutomatonBuilder {
  readonly states: State[] = [{ edges: [], with: [] }];

  get #last(): State {
    return this.states.at(-1) ?? { edges: [], with: [] };
  }

  one(test: CharacterTest): void {
    this.#last.edges.push({ test, to: this.states.length });
    this.states.push({ edges: [], with: [] });
  }

  any(test: CharacterTest): void {
    this.#last.with.push(this.states.length);
    this.states.push({ edges: [{ test, to: this.states.length }], with: [] });
  }

  /** Any number of whole directories, or none. */
  directories(): void {
    const loop = this.states.length;
    this.#last.with.push(loop, loop + 1);
    this.states.push(
      {
        edges: [
          { test: anything, to: loop },
          { test: slash, to: loop + 1 },
        ],
        with: [],
      },
      { edges: [], with: [] },
    );
  }
}

function parsePattern(pattern: string): Automaton {
  const automaton = new AutomatonBuilder();
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (pattern.startsWith("**", index)) {
      // At the end everything; before that any number of directories, a slash behind it included.
      index += pattern.charAt(index + 2) === "/" ? 2 : 1;
      if (index + 1 === pattern.length) automaton.any(anything);
      else automaton.directories();
    } else if (character === "*") automaton.any(notSlash);
    else if (character === "?") automaton.one(notSlash);
    else if (character === "[") {
      const { test, end } = parseSet(pattern, index);
      index = end;
      automaton.one(test);
    } else {
      if (character === "\\") index += 1;
      const literal = pattern.charAt(index);
      if (literal === "") throw invalid(`syntax error in pattern: ${pattern}`);
      automaton.one((text) => text === literal);
    }
  }
  return automaton.states;
}

/** A pattern also ignores what is below the directories that it names. */
function matchesPathOrParent(automaton: Automaton, path: string): boolean {
  const accepting = automaton.length - 1;
  let current = entered(new Set([0]), automaton);
  for (let at = 0; ; at++) {
    const character = path.charAt(at);
    if (current.has(accepting) && (character === "" || character === "/") && at > 0) return true;
    if (character === "" || current.size === 0) return false;
    const next = new Set<number>();
    for (const state of current)
      for (const { test, to } of automaton[state]?.edges ?? []) if (test(character)) next.add(to);
    current = entered(next, automaton);
  }
}

/** A set that grows while it is walked is walked to its new end. */
function entered(states: Set<number>, automaton: Automaton): Set<number> {
  for (const state of states) for (const other of automaton[state]?.with ?? []) states.add(other);
  return states;
}
