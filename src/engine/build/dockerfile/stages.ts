/** A whole Dockerfile: global arguments, then stages. */
import { STAGES_LIMIT } from "../limits.ts";
import { type FromInstruction, type Instruction, parseInstruction } from "./instructions.ts";
import { readLines } from "./lines.ts";
import { DockerfileError } from "./syntax-error.ts";

export interface Stage {
  from: FromInstruction;
  instructions: Instruction[];
}

export interface Dockerfile {
  escapeMark: string;
  /** ARG instructions before the first FROM. */
  globals: Extract<Instruction, { kind: "arg" }>[];
  stages: Stage[];
}

/** Throws DockerfileError. */
export function parseDockerfile(text: string): Dockerfile {
  const { escapeMark, lines } = readLines(text);
  const globals: Dockerfile["globals"] = [];
  const stages: Stage[] = [];
  const names = new Set<string>();
  for (const line of lines) {
    const instruction = parseInstruction(line, escapeMark);
    const stage = stages.at(-1);
    if (instruction.kind === "from") {
      if (stages.length >= STAGES_LIMIT) throw new DockerfileError(`more than ${STAGES_LIMIT} stages`, line.number);
      if (instruction.name !== undefined && names.has(instruction.name))
        throw new DockerfileError(`duplicate name ${instruction.name}`, line.number);
      if (instruction.name !== undefined) names.add(instruction.name);
      stages.push({ from: instruction, instructions: [] });
    } else if (stage !== undefined) stage.instructions.push(instruction);
    else if (instruction.kind === "arg") globals.push(instruction);
    else throw new DockerfileError("no build stage in current context", line.number);
  }
  if (stages.length === 0) throw new DockerfileError("no build stage in current context");
  return { escapeMark, globals, stages };
}

/** The instructions of a base image's ONBUILD triggers. */
export function parseTriggers(triggers: readonly string[]): Instruction[] {
  return triggers.flatMap((trigger) => {
    const { escapeMark, lines } = readLines(trigger);
    return lines.map((line) => {
      const instruction = parseInstruction(line, escapeMark);
      if (instruction.kind === "from" || instruction.kind === "onbuild" || instruction.kind === "maintainer")
        throw new DockerfileError(`${line.keyword} isn't allowed as an ONBUILD trigger`);
      return instruction;
    });
  });
}

/** Position of a stage by its name or number; undefined when there is none. Later names hide nothing: they are unique. */
export function findStage(stages: readonly Stage[], reference: string): number | undefined {
  const named = stages.findIndex(({ from }) => from.name === reference.toLowerCase());
  if (named !== -1) return named;
  const number = /^\d{1,9}$/.test(reference) ? Number(reference) : -1;
  return number >= 0 && number < stages.length ? number : undefined;
}
