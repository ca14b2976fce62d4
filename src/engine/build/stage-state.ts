/** What a stage is so far: the image of its last step, and the configuration that the next one starts from. */
import type { ImageConfiguration } from "../images/image-config.ts";
import type { StageArguments } from "./build-arguments.ts";
import { type Expansion, expandWord } from "./dockerfile/expand.ts";
import type { Command } from "./dockerfile/instructions.ts";

export type Config = ImageConfiguration["config"];

const DEFAULT_SHELL = ["/bin/sh", "-c"];
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export class StageState {
  /** Undefined after FROM scratch, until the first step. */
  imageId: string | undefined;
  config: Config;
  author: string | undefined;
  /** ENTRYPOINT takes away an inherited CMD, not one of this Dockerfile. */
  commandGiven = false;

  constructor(
    imageId: string | undefined,
    config: Config,
    readonly args: StageArguments,
    readonly escapeMark: string,
  ) {
    this.imageId = imageId;
    this.config = structuredClone(config);
    delete this.config.OnBuild;
    const environment = this.config.Env ?? [];
    if (!environment.some((entry) => entry.startsWith("PATH="))) this.config.Env = [...environment, DEFAULT_PATH];
  }

  get shell(): string[] {
    return this.config.Shell?.length ? this.config.Shell : DEFAULT_SHELL;
  }

  get workingDirectory(): string {
    return this.config.WorkingDir || "/";
  }

  commandLine(command: Command): string[] {
    return command.form === "exec" ? command.words : command.text === "" ? [] : [...this.shell, command.text];
  }

  /** The environment comes first, then build arguments. */
  get expansion(): Expansion {
    const environment = new Map(
      (this.config.Env ?? []).map((entry): [string, string] => {
        const separator = entry.indexOf("=");
        return [entry.slice(0, separator), entry.slice(separator + 1)];
      }),
    );
    return { escapeMark: this.escapeMark, lookUp: (name) => environment.get(name) ?? this.args.get(name) };
  }

  expand(text: string): string {
    return expandWord(text, this.expansion);
  }
}
