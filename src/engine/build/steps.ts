/** One instruction of a stage: found in the cache or carried out. Every step leads to an image. */

import { digestOf } from "../../registry/digest.ts";
import type { Platform } from "../../registry/manifest.ts";
import type { EngineContext } from "../context.ts";
import type { BuildOptions } from "../contract.ts";
import { invalid } from "../errors.ts";
import type { BuildSteps, LayerContentSource } from "../images/contract.ts";
import { applyConfiguration } from "./configuration-steps.ts";
import { prepareCopy } from "./copy-step.ts";
import type { Instruction } from "./dockerfile/instructions.ts";
import type { FileTree } from "./files/file-tree.ts";
import { absolute, cleaned } from "./files/paths.ts";
import type { BuildOutput } from "./output.ts";
import { runCommand } from "./run-step.ts";
import type { StageState } from "./stage-state.ts";
import { directoryLayer } from "./working-directory.ts";

/** One build, as its steps see it. */
export interface Build {
  context: EngineContext;
  steps: BuildSteps;
  options: BuildOptions;
  output: BuildOutput;
  /** Files of the build context. */
  files: FileTree;
  platform: Platform;
  spoolDirectory: string;
  /** Ids of the images of --cache-from that are here. */
  cacheSources: readonly string[];
  /** Image of a stage or of a registry, for COPY --from. */
  imageOf(reference: string): Promise<string>;
  /** Nobody may remove it while the build goes on. */
  hold(imageId: string): void;
}

export async function performStep(build: Build, state: StageState, instruction: Instruction): Promise<void> {
  switch (instruction.kind) {
    case "run":
      return await performRun(build, state, instruction);
    case "copy":
    case "add": {
      await using copy = await prepareCopy(build, state, instruction);
      return await performLayer(build, state, { comment: copy.comment, key: copy.key, tar: copy.layer });
    }
    case "workdir": {
      const path = absolute(state.workingDirectory, state.expand(instruction.value));
      state.config.WorkingDir = path;
      return await performLayer(build, state, {
        comment: `WORKDIR ${path}`,
        key: [],
        tar: directoryLayer(cleaned(path)),
      });
    }
    default: {
      const comment = applyConfiguration(state, instruction);
      return await performLayer(build, state, { comment: ` ${comment}`, key: [], tar: undefined });
    }
  }
}

async function performRun(
  build: Build,
  state: StageState,
  instruction: Extract<Instruction, { kind: "run" }>,
): Promise<void> {
  const { imageId } = state;
  if (imageId === undefined) throw invalid("Please provide a source image with `from` prior to run");
  const commandLine = state.commandLine(instruction.command);
  const environment = state.config.Env ?? [];
  const told = state.args.environment(environment, true);
  const createdBy = [...(told.length === 0 ? [] : [`|${told.length}`, ...told]), ...commandLine].join(" ");
  const key = keyOf(createdBy, [instruction.network ?? "", instruction.command.form]);
  if (await useCached(build, state, key, createdBy)) return;
  state.imageId = await runCommand(
    build.context,
    build.options,
    build.output,
    { imageId, commandLine, environment: state.args.environment(environment), network: instruction.network },
    (layer) => add(build, state, { createdBy, key, tar: layer }),
  );
}

async function performLayer(
  build: Build,
  state: StageState,
  step: { comment: string; key: readonly string[]; tar: LayerContentSource | undefined },
): Promise<void> {
  const createdBy = [...state.shell, `#(nop) ${step.comment}`].join(" ");
  const key = keyOf(createdBy, step.key);
  if (await useCached(build, state, key, createdBy)) return;
  state.imageId = await add(build, state, { createdBy, key, tar: step.tar });
}

const keyOf = (createdBy: string, more: readonly string[]): string => digestOf(JSON.stringify([createdBy, ...more]));

async function useCached(build: Build, state: StageState, key: string, createdBy: string): Promise<boolean> {
  const { steps, options, cacheSources } = build;
  options.signal.throwIfAborted();
  if (options.noCache) return false;
  const parent = state.imageId;
  const id =
    options.cacheFrom.length === 0
      ? steps.cached(parent, key)
      : await steps.cachedFrom(
          {
            parent,
            createdBy,
            buildKey: key,
            config: state.config,
            sources: cacheSources,
            announce: (made) => build.hold(made),
          },
          options.signal,
        );
  if (id === undefined) return false;
  build.hold(id);
  await build.output.arrow("Using cache");
  state.imageId = id;
  return true;
}

const add = (
  build: Build,
  state: StageState,
  { createdBy, key, tar }: { createdBy: string; key: string; tar: LayerContentSource | undefined },
): Promise<string> =>
  build.steps.add(
    {
      parent: state.imageId,
      tar,
      config: state.config,
      author: state.author,
      createdBy,
      buildKey: key,
      announce: (id) => build.hold(id),
    },
    build.options.signal,
  );
