import { EngineError } from "../../errors.ts";

/** A Dockerfile that cannot be understood, in Docker's words. */
export class DockerfileError extends EngineError {
  constructor(message: string, line?: number) {
    super("invalid", line === undefined ? message : `dockerfile parse error on line ${line}: ${message}`);
  }
}
