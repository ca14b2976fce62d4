/** Instructions that change an image's configuration and no file. Each answers its comment in the image's history. */
import { invalid } from "../errors.ts";
import { exposedPorts } from "../images/changes.ts";
import { signalNumber } from "../signals.ts";
import { expandWords } from "./dockerfile/expand.ts";
import type { Instruction } from "./dockerfile/instructions.ts";
import type { StageState } from "./stage-state.ts";

export type ConfigurationInstruction = Exclude<Instruction, { kind: "run" | "copy" | "add" | "workdir" }>;

const quoted = (words: readonly string[]): string => `[${words.map((word) => JSON.stringify(word)).join(" ")}]`;

export function applyConfiguration(state: StageState, instruction: ConfigurationInstruction): string {
  const { config } = state;
  switch (instruction.kind) {
    case "arg":
      return `ARG ${instruction.args.map(({ name, value }) => declareArgument(state, name, value)).join(" ")}`;
    case "env": {
      // All pairs of one instruction see the environment from before it.
      const pairs = instruction.pairs.map((pair) => expandPair(state, pair, "ENV"));
      for (const [name, value] of pairs) {
        const entry = `${name}=${value}`;
        const known = (config.Env ?? []).findIndex((other) => other.startsWith(`${name}=`));
        config.Env = known === -1 ? [...(config.Env ?? []), entry] : (config.Env ?? []).with(known, entry);
      }
      return `ENV ${pairs.map(([name, value]) => `${name}=${value}`).join(" ")}`;
    }
    case "label": {
      const pairs = instruction.pairs.map((pair) => expandPair(state, pair, "LABEL"));
      config.Labels = { ...config.Labels, ...Object.fromEntries(pairs) };
      return `LABEL ${pairs.map(([name, value]) => `${name}=${value}`).join(" ")}`;
    }
    case "cmd":
      config.Cmd = state.commandLine(instruction.command);
      state.commandGiven = true;
      return `CMD ${quoted(config.Cmd)}`;
    case "entrypoint":
      config.Entrypoint = state.commandLine(instruction.command);
      if (!state.commandGiven) delete config.Cmd;
      return `ENTRYPOINT ${quoted(config.Entrypoint)}`;
    case "shell":
      config.Shell = instruction.words;
      return `SHELL [${instruction.words.join(" ")}]`;
    case "expose": {
      const ports = expandWords(instruction.ports, state.expansion).flatMap(exposedPorts);
      config.ExposedPorts = { ...config.ExposedPorts, ...Object.fromEntries(ports.map((port) => [port, {}])) };
      return `EXPOSE ${[...new Set(ports)].sort().join(" ")}`;
    }
    case "volume": {
      const paths = instruction.paths.flatMap((path) => expandWords(path, state.expansion));
      for (const path of paths) {
        if (path.trim() === "") throw invalid("VOLUME specified can not be an empty string");
        config.Volumes = { ...config.Volumes, [path]: {} };
      }
      return `VOLUME [${paths.join(" ")}]`;
    }
    case "user":
      config.User = state.expand(instruction.value);
      return `USER ${config.User}`;
    case "stopsignal":
      config.StopSignal = checkedSignal(state.expand(instruction.value));
      return `STOPSIGNAL ${config.StopSignal}`;
    case "maintainer":
      state.author = instruction.value;
      return `MAINTAINER ${instruction.value}`;
    case "healthcheck":
      config.Healthcheck = instruction.check;
      return `HEALTHCHECK ${JSON.stringify(instruction.check)}`;
    case "onbuild":
      config.OnBuild = [...(config.OnBuild ?? []), instruction.trigger];
      return `ONBUILD ${instruction.trigger}`;
  }
}

function declareArgument(state: StageState, name: string, value: string | undefined): string {
  const expandedName = state.expand(name);
  const expanded = value === undefined ? undefined : state.expand(value);
  state.args.declare(expandedName, expanded);
  return expanded === undefined ? expandedName : `${expandedName}=${expanded}`;
}

function expandPair(state: StageState, [name, value]: [string, string], keyword: string): [string, string] {
  const expanded = state.expand(name);
  if (expanded === "") throw invalid(`${keyword} names can not be blank`);
  return [expanded, state.expand(value)];
}

function checkedSignal(text: string): string {
  signalNumber(text);
  return text;
}
