import { runCommandLine } from "./src/cli/index.ts";

process.exitCode = await runCommandLine(process.argv.slice(2));
