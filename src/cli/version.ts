import { Command } from "commander";
import { BUILD } from "../machine/build.ts";

export function versionCommand(): Command {
  return new Command("version")
    .description("print the version of this program")
    .option("--json", "print JSON")
    .action((options: { json?: boolean }) => {
      if (options.json) console.log(JSON.stringify(BUILD));
      else console.log(`vch ${BUILD.version} (commit ${BUILD.commit}, Bun ${BUILD.bun}, ${BUILD.platform})`);
    });
}
